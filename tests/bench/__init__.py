"""Measures, never judges: the engine against ``concurrent.futures`` in one run, as a table.

``python -m tests.bench`` starts a real coordinator and a real worker with two slots on loopback,
with a durable store on disk, and runs every workload there and with ``ProcessPoolExecutor(2)``.
``--quick`` leaves out the largest, ``--only NAME`` picks one, ``--profile`` profiles a process.
"""
