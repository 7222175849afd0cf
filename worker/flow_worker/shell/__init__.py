"""The acting half of the worker agent: one loop in one thread.

What lives here: the link to the coordinator, the agent's end of its processes (nursery, pipes), the
clock that counts sleep, the loop that checks the fence before it handles any message.
Who calls it: the supervisor, in the agent's process.
What must never enter: a decision about a token; user code; a call without a deadline.
"""
