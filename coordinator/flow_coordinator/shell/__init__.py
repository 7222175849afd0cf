"""The acting half of the coordinator: one loop in one thread.

What lives here: the sockets, the clock, the loop that drains, decides, persists and then sends.
Who calls it: the command ``flow-coordinator``.
What must never enter: a decision about a task, a run or a worker; anything said before it is
durable; a call without a deadline.
"""
