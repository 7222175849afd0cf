"""The planner's part of a task process: what tasks require, which are complete, what is removed.

What lives here: answering questions in pieces (planner), walking what tasks require (walk), reading
what they ask for (policies), what user code prints meanwhile (overheard), and removing temporary
artifacts (removal).
Who calls it: the main loop of a task process, ``process.serve``, and a worker without processes.
What must never enter: running a task; leases; sockets to the coordinator.
"""
