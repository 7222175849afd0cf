"""The deciding half of the worker agent, pure: ``handle(event, now)`` gives effects.

What lives here: the closed lists of events and effects, the tokens held and their table of legal
moves, the programs of runs and their processes, the lease and its fence, joining, the reports not
yet acknowledged. They keep the rules W1-W8 and, with the coordinator, R1-R7 (``PROTOCOL.md``
beside the messages).
Who calls it: the shell with real events, the simulation and the tests with made-up ones.
What must never enter: sockets, clocks, files, logs, threads, processes, randomness without a given
seed, an order that depends on hashes.
"""
