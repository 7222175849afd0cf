"""Batchable tasks for tests with real processes. Copied as ``flowtasks`` beside ``ledger_writer``.

The combined task writes one line and one file for each task that it runs.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import Any

from ledger_writer import executing, note, wait_for  # type: ignore[import-not-found]

import flow

HERE = Path(__file__).parent
GATES = HERE / "gates"


class Part(flow.Task):
    """One of many that may run as one: ``ns`` of the combined task is ``0+1+2``."""

    key = flow.StrParameter()
    ns = flow.StrParameter(batch_method="+".join)
    resources = {"db": 1}

    def names(self) -> list[str]:
        return [f"Part-{self.key}-{n}" for n in self.ns.split("+")]

    def output(self) -> Any:
        return [flow.LocalTarget(str(HERE / "out" / name)) for name in self.names()]

    def work(self) -> Any:
        """What the one attempt does."""

    def run(self) -> Any:
        with contextlib.ExitStack() as stack:
            for name in self.names():
                stack.enter_context(executing(name))
            yield from self.work() or ()
            for target in self.output():
                with target.open("w") as out:
                    out.write(self.ns)


class LightPart(Part):
    """Takes no locks: thousands may run as one."""

    def run(self) -> Any:
        for name, target in zip(self.names(), self.output(), strict=True):
            note("start", name)
            with target.open("w") as out:
                out.write(name)
            note("end", name)


class GatedPart(Part):
    """Waits for its gate."""

    def work(self) -> Any:
        wait_for(self.key)


class FlakyPart(Part):
    """Fails, or dies, until its gate is open."""

    how = flow.StrParameter(default="raises")
    retry_count = 5
    retry_delay = 0.2

    def work(self) -> Any:
        if not (GATES / f"{self.key}-fixed").exists():
            (GATES / f"{self.key}-fixed").touch()
            if self.how == "dies":
                os.kill(os.getpid(), signal.SIGSEGV)
            raise ValueError("not yet")


class YieldingPart(Part):
    """Needs something that it finds out while it runs."""

    def work(self) -> Any:
        yield Found(key=self.key)


class Found(flow.Task):
    """What a batch yields."""

    key = flow.StrParameter()

    def output(self) -> Any:
        return flow.LocalTarget(str(HERE / "out" / f"Found-{self.key}"))

    def run(self) -> Any:
        with executing(f"Found-{self.key}"), self.output().open("w") as out:
            out.write("found")


class BrokenPart(Part):
    """Its ``batch_method`` raises."""

    ns = flow.StrParameter(batch_method=lambda values: 1 // 0)


KINDS = {"plain": Part, "gated": GatedPart, "flaky": FlakyPart, "yields": YieldingPart,
         "broken": BrokenPart, "light": LightPart}  # fmt: skip


class Parts(flow.WrapperTask):
    """Parts from ``first`` on."""

    key = flow.StrParameter()
    kind = flow.StrParameter(default="plain")
    width = flow.IntParameter()
    first = flow.IntParameter(default=0)
    how = flow.StrParameter(default="")

    def requires(self) -> Any:
        more = {"how": self.how} if self.how else {}
        return [
            KINDS[self.kind](key=self.key, ns=str(n), **more)
            for n in range(self.first, self.first + self.width)
        ]
