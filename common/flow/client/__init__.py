"""Talking with a coordinator about runs, and showing what it says.

What lives here: the client, following a run, the views it is shown in, its summary and exit code,
the options of commands that start one.
Who calls it: ``flow.cli``, runs on this machine (``flow.local``), and whoever watches.
What must never enter: starting processes, importing users' code.
"""
