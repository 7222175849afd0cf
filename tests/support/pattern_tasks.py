"""Tasks of ``flow.patterns`` for a cluster: programs and ranges."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import flow

HERE = Path(__file__).parent


class Program(flow.ExternalProgramTask):
    """Says where it can be watched, leaves its pid, and runs until it is killed."""

    key = flow.StrParameter()
    stream_for_searching_tracking_url = "stderr"
    tracking_url_pattern = r"UI at (\S+)"

    def program_args(self) -> list[str]:
        script = f"echo UI at http://jobs/{self.key} >&2; sleep 1001 & echo $! > child-{self.key}"
        return ["sh", "-c", f"cd {HERE}; {script}; echo $$ > pid-{self.key}; wait; sleep 1000"]


class Report(flow.Task):
    """One day of a report."""

    day = flow.DateParameter()

    def output(self) -> Any:
        return flow.LocalTarget(str(HERE / "reports" / f"{self.day}.txt"))

    def run(self) -> None:
        with self.output().open("w") as out:
            out.write(str(os.getpid()))
