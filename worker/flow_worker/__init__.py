"""The worker: an agent on each node, and the processes in which tasks run and are planned.

What lives here: ``core`` (decides), ``shell`` (acts), ``guard`` (how all of it surely ends),
``process`` (what tasks run in), ``planner`` (how they are planned there), the ``channel`` over
which the agent and its processes speak, and the command that starts them.
Who calls it: ``flow-worker``, and ``flow run`` as a child process.
What must never enter: the coordinator's packages; user code in the agent itself.
"""
