"""Luigi's ``retcodes``: its command as a function that exits with the code of the run."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def run_with_retcodes(argv: Sequence[str]) -> None:
    """Run what a command line says, then exit with the code that tells how it went, 0 too."""
    from flow.local.embedded import enter
    from flow.local.script import run_command

    enter("run")
    sys.exit(run_command(list(argv)))
