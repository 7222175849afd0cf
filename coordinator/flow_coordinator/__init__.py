"""The coordinator: resolves the graph, holds the leases, hands out what can run.

What lives here: ``core`` (decides), ``store`` (remembers), ``shell`` (acts), and the command that
starts them.
Who calls it: ``flow-coordinator``, and ``flow run`` as a child process.
What must never enter: user code, the worker's packages, anything that makes the loop wait.
"""
