"""The workloads' tasks: no files, no output, no work but where said."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import ClassVar

import flow
from tests.bench.planning import ANSWER_S


class Empty(flow.Task):
    """One task that does nothing."""

    n = flow.IntParameter(default=0)

    def run(self) -> None:
        """Do nothing."""


class Noop(flow.Task):
    """Does nothing."""

    salt = flow.IntParameter()
    n = flow.IntParameter()

    def run(self) -> None:
        """Do nothing."""


class FanOut(flow.Task):
    """Wait for ``width`` tasks that do nothing."""

    salt = flow.IntParameter()
    width = flow.IntParameter()

    def requires(self) -> Iterable[flow.Task]:
        """Require them all."""
        return [Noop(salt=self.salt, n=n) for n in range(self.width)]

    def run(self) -> None:
        """Do nothing."""


class Joinable(flow.Task):
    """Does nothing, for up to a hundred at once."""

    salt = flow.IntParameter()
    n = flow.IntParameter(batch_method=max)
    max_batch_size = 100

    def run(self) -> None:
        """Do nothing."""


class Joined(flow.Task):
    """Wait for ``width`` tasks that run as one, a hundred at a time."""

    salt = flow.IntParameter()
    width = flow.IntParameter()

    def requires(self) -> Iterable[flow.Task]:
        """Require them all."""
        return [Joinable(salt=self.salt, n=n) for n in range(self.width)]

    def run(self) -> None:
        """Do nothing."""


class Millisecond(flow.Task):
    """Sleeps 1 ms."""

    salt = flow.IntParameter()
    n = flow.IntParameter()

    def run(self) -> None:
        """Sleep."""
        time.sleep(0.001)


class Milliseconds(flow.Task):
    """Wait for ``width`` tasks of 1 ms."""

    salt = flow.IntParameter()
    width = flow.IntParameter()

    def requires(self) -> Iterable[flow.Task]:
        """Require them all."""
        return [Millisecond(salt=self.salt, n=n) for n in range(self.width)]

    def run(self) -> None:
        """Do nothing."""


class Chain(flow.Task):
    """Each link waits for the one before it."""

    salt = flow.IntParameter()
    n = flow.IntParameter()

    def requires(self) -> Iterable[flow.Task]:
        """Require the link before."""
        return [Chain(salt=self.salt, n=self.n - 1)] if self.n > 1 else []

    def run(self) -> None:
        """Do nothing."""


class Layer(flow.Task):
    """One of ``width`` tasks in a layer; requires three of the layer below."""

    salt = flow.IntParameter()
    depth = flow.IntParameter()
    n = flow.IntParameter()
    width = flow.IntParameter()

    def requires(self) -> Iterable[flow.Task]:
        """Require three neighbours below."""
        if self.depth <= 1:
            return []
        return [
            Layer(
                salt=self.salt, depth=self.depth - 1, n=(self.n + k) % self.width, width=self.width
            )
            for k in range(3)
        ]

    def run(self) -> None:
        """Do nothing."""


class Layers(flow.Task):
    """Wait for the top layer."""

    salt = flow.IntParameter()
    depth = flow.IntParameter()
    width = flow.IntParameter()

    def requires(self) -> Iterable[flow.Task]:
        """Require the whole top layer."""
        return [
            Layer(salt=self.salt, depth=self.depth, n=n, width=self.width)
            for n in range(self.width)
        ]

    def run(self) -> None:
        """Do nothing."""


class Blocked(flow.Task):
    """Needs a resource that is full."""

    salt = flow.IntParameter()
    n = flow.IntParameter()
    resources: ClassVar = {"full": 1}

    def run(self) -> None:
        """Do nothing."""


class Holder(flow.Task):
    """Holds that resource until its file appears."""

    salt = flow.IntParameter()
    until = flow.Parameter()
    resources: ClassVar = {"full": 1}
    priority = 10

    def run(self) -> None:
        """Wait for the file."""
        from pathlib import Path

        while not Path(self.until).exists():
            time.sleep(0.05)


class BlockedFan(flow.Task):
    """Wait for ``width`` blocked tasks."""

    salt = flow.IntParameter()
    width = flow.IntParameter()

    def requires(self) -> Iterable[flow.Task]:
        """Require them all."""
        return [Blocked(salt=self.salt, n=n) for n in range(self.width)]

    def run(self) -> None:
        """Do nothing."""


class _SlowTarget(flow.Target):
    """Exists, but takes 5 ms to say so."""

    def exists(self) -> bool:
        """Answer late."""
        time.sleep(ANSWER_S)
        return True


class Present(flow.Task):
    """Complete already."""

    salt = flow.IntParameter()
    n = flow.IntParameter()

    def output(self) -> flow.Target:
        """Answer late."""
        return _SlowTarget()


class Check(flow.Task):
    """Only has its requirements checked."""

    salt = flow.IntParameter()
    width = flow.IntParameter()

    def requires(self) -> Iterable[flow.Task]:
        """Require tasks that are complete."""
        return [Present(salt=self.salt, n=n) for n in range(self.width)]
