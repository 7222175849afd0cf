"""What is done with users' code before it runs: asked, walked, logged, packed.

What lives here: ``complete()`` asked of many tasks (completeness), requirements walked where no
coordinator is (exploring), the logging of task processes (tasklogs), and a folder's code as one
body of bytes (gathering, ignoring, shipping).
Who calls it: planners and runners, ``flow graph`` and ``flow clean``, ``flow submit --code-dir``.
What must never enter: leases and messages; sockets.
"""
