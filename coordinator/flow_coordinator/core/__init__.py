"""The deciding half of the coordinator, pure: ``handle(event, now)`` gives effects.

What lives here: the closed lists of events and effects, the records, the table of legal moves,
and the handlers for runs, tasks, workers, planning, leases, resources and dispatch. They keep the
rules C1-C9 and, with the worker, R1-R7 (``PROTOCOL.md`` beside the messages).
Who calls it: the shell with real events, the simulation and the tests with made-up ones.
What must never enter: sockets, clocks, files, logs, threads, the environment, randomness without
a given seed, an order that depends on hashes.
"""
