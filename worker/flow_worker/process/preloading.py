"""What every task process needs, imported once before any is forked."""

from __future__ import annotations


def preload() -> None:
    """Import what task processes need, in the supervisor, so that each fork has it already."""
    import inspect  # noqa: F401
    import subprocess  # noqa: F401
    import traceback  # noqa: F401

    import flow.parameters.optional
    import flow.parameters.scalar
    import flow.settings.luigi_files
    import flow.targets.local  # noqa: F401
    import flow_worker.process.template  # noqa: F401  and with it what imports programs
    from flow_worker.process import sources

    sources.know_own_modules()
