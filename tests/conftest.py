"""Fixtures for every test."""

import contextlib

pytest_plugins = ["tests.support.servers"]

with contextlib.suppress(ImportError):  # where only public pipelines are run it is not there
    from hypothesis import settings

    # A busy machine is no failure.
    settings.register_profile("flow", deadline=None)
    settings.load_profile("flow")
