"""Fixtures for every test."""

import compileall
import contextlib
import sys
from collections.abc import Iterator

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


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Keep tests as pytest has rewritten them, whatever the environment says.

    That is three quarters of the time it takes to collect them, in each process of each run. What
    tests themselves import is another matter: many write a module anew within one second.
    """
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = False
    try:
        return (yield)
    finally:
        sys.dont_write_bytecode = before


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have tests that share a cluster or a server run in one process of pytest-xdist.

    Else each of its processes starts a cluster of its own for its share of the file.
    """
    for item in items:
        if item.get_closest_marker("xdist_group"):
            continue
        if "tests/unit/house/" in item.nodeid:  # all of them read every file
            item.add_marker(pytest.mark.xdist_group("house"))
            continue
        info = getattr(item, "_fixtureinfo", None)
        ours = [
            (name, found[-1].scope)
            for name, found in (info.name2fixturedefs.items() if info else ())
            if found[-1].func.__module__.startswith("tests.")
        ]
        servers = [name for name, scope in ours if scope == "session"]
        if servers:
            item.add_marker(pytest.mark.xdist_group(servers[0]))
        elif any(scope == "module" for _, scope in ours):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse to run groups apart: with some versions pytest-xdist does not see them."""
    if not getattr(session.config.option, "loadgroup", False):
        return
    grouped = [item for item in session.items if item.get_closest_marker("xdist_group")]
    if any("@" not in item.nodeid for item in grouped):
        raise pytest.UsageError("pytest-xdist does not group tests with this pytest")
