"""Load for the chaos test. Copied as ``flowtasks`` beside ``ledger_writer``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ledger_writer import executing  # type: ignore[import-not-found]

import flow

HERE = Path(__file__).parent
#: Tasks of one wave: together about as long as the time until the next one.
SMALL, LONG = 1000, 8


class Noted(flow.Task):
    """One output file, one line for the start, one for the end."""

    wave = flow.IntParameter()
    n = flow.IntParameter(default=0)

    def name(self) -> str:
        return f"{self.task_family}-{self.wave}-{self.n}"

    def output(self) -> Any:
        return flow.LocalTarget(str(HERE / "out" / self.name()))

    def work(self) -> None:
        """What takes time."""

    def run(self) -> Any:
        with executing(self.name()):
            self.work()
            with self.output().open("w") as out:
                out.write(self.name())


class Small(Noted):
    """Most of the load."""

    def requires(self) -> Any:
        return [Small(wave=self.wave, n=self.n // 2)] if self.n else []

    def work(self) -> None:
        time.sleep(0.03 + self.n % 13 * 0.01)


class Long(Noted):
    """Long enough to be hit."""

    def work(self) -> None:
        time.sleep(5.0)


class Yielding(Noted):
    """A generator that is parked while the harm is done; it starts from the top if it is lost."""

    def name(self) -> str:
        return f"Yielding-{self.wave}"

    def run(self) -> Any:
        yield [Small(wave=self.wave, n=n) for n in range(450, 460)]
        yield Long(wave=self.wave, n=2)
        with executing(self.name()), self.output().open("w") as out:
            out.write("both")


class Wave(Noted):
    """The root."""

    def name(self) -> str:
        return f"Wave-{self.wave}"

    def requires(self) -> Any:
        return [
            *(Small(wave=self.wave, n=n) for n in range(SMALL)),
            *(Long(wave=self.wave, n=n) for n in range(LONG)),
            Yielding(wave=self.wave),
        ]
