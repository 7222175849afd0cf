"""The durable state of one coordinator: rows in, rows out, one transaction per loop turn.

What lives here: the ``Store`` protocol with its row types (``base``), the SQLite backend
(``sqlite``) and its parts: the lock of the state directory, the check before the first write, the
schema and its migrations, the walk over what is unfinished, the history of ended runs.
Who calls it: only the shell (and the command that opens the store for it).
What must never enter: messages, decisions about tasks, a second writer.
"""
