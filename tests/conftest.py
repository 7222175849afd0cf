"""Fixtures for every test."""

import compileall
import contextlib

import pytest

pytest_plugins = ["tests.support.servers"]

with contextlib.suppress(ImportError):  # where only public pipelines are run it is not there
    from hypothesis import settings

    # A busy machine is no failure.
    settings.register_profile("flow", deadline=None)
    settings.load_profile("flow")


def pytest_configure(config: pytest.Config) -> None:
    """Compile once what thousands of processes are going to import.

    They may not write what they compiled, as ``PYTHONDONTWRITEBYTECODE`` has it in a cluster of
    these tests and on many a machine; then each of them would spend most of its start on that.
    """
    if hasattr(config, "workerinput"):  # a process of pytest-xdist: the first one has done it
        return
    for folder in ("common", "coordinator", "worker", "tests/support"):
        compileall.compile_dir(config.rootpath / folder, quiet=2)
