"""Pipelines that were not written here, run by their own scheduler and by flow.

They come from the source distributions on PyPI, are unpacked into temporary directories, and never
committed. ``pytest -m pipelines tests/pipelines`` needs the extra ``pipelines`` and ``python -m
tests.pipelines.sources`` before. Each pipeline runs in fresh directories three times: by its own
scheduler, by ``flow run``, and by a coordinator with two workers in directories of their own. What
differs must have a reason in ``known.py``, and a reason must still be needed.
"""
