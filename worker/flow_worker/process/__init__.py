"""The processes of a worker: who starts them, what they do, how they surely end.

What lives here: the supervisor, which guards the agent and forks its task processes; the nursery,
the agent's end of them; the runner that executes, the planner that expands, the channel they speak
over; the killing of whole trees, the capture of output.
Who calls it: the command ``flow-worker`` starts the supervisor, the shell asks for the rest.
What must never enter: leases and decisions about them; sockets to the coordinator.
"""
