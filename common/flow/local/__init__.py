"""Runs on this machine: ``flow run``, ``flow.build()``, ``flow.run()``.

What lives here: the engine as child processes (children, execution) or in the calling thread
(inprocess), what such runs share (work, results), the template forked from the caller (forking),
the command lines of scripts (script, listing), and event handlers of the calling program
(observing).
Who calls it: the command ``flow run``, programs.
What must never enter: ``flow.cli``, which is above.
"""
