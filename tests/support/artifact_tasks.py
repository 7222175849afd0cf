"""Tasks whose outputs are artifacts, the first ones temporary; each says where it ran."""

from __future__ import annotations

import os
import time
from typing import Any

import flow


class Raw(flow.Task):
    """What several tasks need for a while."""

    n = flow.IntParameter()

    def output(self) -> Any:
        return self.artifact("raw.json", temporary=True)

    def run(self) -> None:
        time.sleep(0.01)
        self.output().dump({"n": self.n, "pid": os.getpid()})


class Half(flow.Task):
    """One of two that need it."""

    n = flow.IntParameter()
    side = flow.Parameter()

    def requires(self) -> Any:
        return Raw(n=self.n)

    def output(self) -> Any:
        return self.artifact(".json")

    def run(self) -> None:
        time.sleep(0.01)
        self.output().dump(self.input().load()["n"])


class Sum(flow.Task):
    """All halves of one or both sides."""

    count = flow.IntParameter()
    sides = flow.ListParameter(default=("left", "right"))

    def requires(self) -> Any:
        return [Half(n=n, side=side) for n in range(self.count) for side in self.sides]

    def output(self) -> Any:
        return self.artifact(".json")

    def run(self) -> None:
        self.output().dump(sum(each.load() for each in self.input()))
