"""What both sides must agree on: ids, states, resources, messages, and how they travel.

What lives here: the values that are stored and sent, one frozen type per message, the law they
obey (``messages/PROTOCOL.md``), and the one module that knows ZeroMQ.
Who calls it: both servers, the worker's processes, clients.
What must never enter: a task, a setting, a clock, a decision.
"""
