"""Luigi's ``cmdline``: its command as a function."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from flow.retcodes import run_with_retcodes

__all__ = ["luigi_run"]


def luigi_run(argv: Sequence[str] | None = None) -> None:
    """Run what a command line says (None: that of this process), and exit with its code."""
    run_with_retcodes(sys.argv[1:] if argv is None else argv)
