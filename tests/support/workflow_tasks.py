"""Tasks for tests with real processes. Copied as ``flowtasks`` beside ``ledger_writer``."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ledger_writer import executing, note, wait_for  # type: ignore[import-not-found]

import flow

HERE = Path(__file__).parent


class Written(flow.Task):
    """A task with one output file, named after itself."""

    def name(self) -> str:
        return self.task_id

    def output(self) -> Any:
        return flow.LocalTarget(str(HERE / "out" / self.name()))

    def work(self) -> None:
        """What happens between start and end line."""

    def run(self) -> Any:
        with executing(self.name()):
            self.work()
            with self.output().open("w") as out:
                out.write(self.name())


class Leaf(Written):
    """The bottom of fans and layers."""

    key = flow.StrParameter()
    n = flow.IntParameter()
    ms = flow.IntParameter(default=0, significant=False)

    def name(self) -> str:
        return f"Leaf-{self.key}-{self.n}"

    def work(self) -> None:
        time.sleep(self.ms / 1000)


class Fan(Written):
    """Many leaves, one after them."""

    key = flow.StrParameter()
    width = flow.IntParameter()
    ms = flow.IntParameter(default=0, significant=False)

    def name(self) -> str:
        return f"Fan-{self.key}"

    def requires(self) -> Any:
        return [Leaf(key=self.key, n=n, ms=self.ms) for n in range(self.width)]

    def work(self) -> None:
        for target in self.input():
            assert target.exists(), f"started before {target.path}"


class Layer(Written):
    """A grid of layers, each task needing three of the layer below."""

    key = flow.StrParameter()
    depth = flow.IntParameter()
    n = flow.IntParameter()
    width = flow.IntParameter(default=6)

    def name(self) -> str:
        return f"Layer-{self.key}-{self.depth}-{self.n}"

    def requires(self) -> Any:
        if self.depth == 0:
            return []
        below = {(self.n + step) % self.width for step in range(3)}
        return {
            f"below{n}": Layer(key=self.key, depth=self.depth - 1, n=n, width=self.width)
            for n in sorted(below)
        }

    def work(self) -> None:
        for target in flow.flatten(self.input()):
            assert target.exists(), f"started before {target.path}"


class Layers(flow.WrapperTask):
    """The top of the grid."""

    key = flow.StrParameter()
    depth = flow.IntParameter(default=4)
    width = flow.IntParameter(default=6)

    def requires(self) -> Any:
        return [
            Layer(key=self.key, depth=self.depth, n=n, width=self.width) for n in range(self.width)
        ]


class Dynamic(Written):
    """Yields three times: a task, a list, a dict; ``run()`` must be called once."""

    key = flow.StrParameter()

    def name(self) -> str:
        return f"Dynamic-{self.key}"

    def run(self) -> Any:
        note("run", self.name())
        one = yield Leaf(key=self.key, n=0)
        two = yield [Leaf(key=self.key, n=n) for n in one_more(one, (1, 2))]
        three = yield {"a": Leaf(key=self.key, n=3), "b": [Leaf(key=self.key, n=4)]}
        targets = [one, *two, three["a"], *three["b"]]
        assert all(target.exists() for target in targets)
        with self.output().open("w") as out:
            out.write(" ".join(os.path.basename(target.path) for target in targets))


def one_more(target: Any, numbers: Any) -> Any:
    """Read what was yielded before choosing what comes next."""
    assert Path(target.path).read_text()
    return numbers


class YieldsBad(Written):
    """Yields a task that fails."""

    key = flow.StrParameter()

    def run(self) -> Any:
        yield Fails(key=self.key)


class Holds(Written):
    """Takes from a resource while it runs."""

    key = flow.StrParameter()
    n = flow.IntParameter()
    resource = flow.StrParameter()
    amount = flow.FloatParameter(default=1.0)

    @property
    def resources(self) -> Any:
        return {self.resource: self.amount}

    def name(self) -> str:
        return f"Holds-{self.key}-{self.n}"

    def work(self) -> None:
        time.sleep(0.05)


class HoldsMany(flow.WrapperTask):
    """Several that compete for one resource."""

    key = flow.StrParameter()
    resource = flow.StrParameter()
    width = flow.IntParameter(default=8)
    amount = flow.FloatParameter(default=1.0)

    def requires(self) -> Any:
        return [
            Holds(key=self.key, n=n, resource=self.resource, amount=self.amount)
            for n in range(self.width)
        ]


class Flaky(Written):
    """Fails until its last allowed attempt."""

    key = flow.StrParameter()
    retry_count = 3
    retry_delay = 0.05

    def name(self) -> str:
        return f"Flaky-{self.key}"

    def work(self) -> None:
        if int(os.environ["FLOW_ATTEMPT"]) < 3:
            raise RuntimeError(f"attempt {os.environ['FLOW_ATTEMPT']} is too early")


class Fails(Written):
    """Raises, after having said something, until its gate is open."""

    key = flow.StrParameter()

    def name(self) -> str:
        return f"Fails-{self.key}"

    def work(self) -> None:
        print("some last words on stdout")
        print("and some on stderr", file=sys.stderr)
        if not (HERE / "gates" / f"mend-{self.key}").exists():
            raise ValueError(f"no way, {self.key}")


class NeedsFailing(Written):
    """Never runs while what it needs fails."""

    key = flow.StrParameter()

    def requires(self) -> Any:
        return [Fails(key=self.key), Leaf(key=self.key, n=0)]


class Slow(Written):
    """Runs into its timeout, with a child of its own."""

    key = flow.StrParameter()
    worker_timeout = 1

    def name(self) -> str:
        return f"Slow-{self.key}"

    def work(self) -> None:
        child = subprocess.Popen(["sleep", "600"], start_new_session=True)
        note("child", self.name(), child.pid)
        time.sleep(600)


class Dies(Written):
    """Ends its own process in one of several ways."""

    how = flow.ChoiceParameter(
        choices=["segv", "exit0", "exit3", "kill", "sysexit", "unprintable", "memory"]
    )

    def name(self) -> str:
        return f"Dies-{self.how}"

    def work(self) -> None:
        if self.how == "segv":
            ctypes.string_at(0)
        elif self.how == "exit0":
            os._exit(0)
        elif self.how == "exit3":
            os._exit(3)
        elif self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.how == "sysexit":
            sys.exit(0)
        elif self.how == "memory":
            kept = [bytes(1 << 20) + bytes([n % 256]) * (1 << 20) for n in range(1000)]
            raise MemoryError(f"{len(kept)} MiB and still alive")
        raise Unprintable


class Unprintable(Exception):
    """Its text cannot be built."""

    def __str__(self) -> str:
        raise RuntimeError("not even this")

    __repr__ = __str__


class NoOutput(Written):
    """Says it ran, but wrote nothing."""

    def run(self) -> Any:
        pass


class Missing(flow.ExternalTask):
    """External data that nobody made, unless a gate is open."""

    key = flow.StrParameter()

    def output(self) -> Any:
        return flow.LocalTarget(str(HERE / "gates" / f"external-{self.key}"))


class NeedsMissing(Written):
    """Waits for external data."""

    key = flow.StrParameter()

    def name(self) -> str:
        return f"NeedsMissing-{self.key}"

    def requires(self) -> Any:
        return Missing(key=self.key)


class Gated(Written):
    """Runs until a test opens its gate."""

    key = flow.StrParameter()
    n = flow.IntParameter(default=0)

    def name(self) -> str:
        return f"Gated-{self.key}-{self.n}"

    def work(self) -> None:
        wait_for(self.key)


class GatedMany(flow.WrapperTask):
    """Several of them at the same time."""

    key = flow.StrParameter()
    width = flow.IntParameter(default=2)

    def requires(self) -> Any:
        return [Gated(key=self.key, n=n) for n in range(self.width)]


class Both(Written):
    """Gated tasks and a fan: long and short work together."""

    key = flow.StrParameter()
    width = flow.IntParameter(default=40)
    gated = flow.IntParameter(default=2)

    def name(self) -> str:
        return f"Both-{self.key}"

    def requires(self) -> Any:
        return [GatedMany(key=self.key, width=self.gated), Fan(key=self.key, width=self.width)]


class Knot(Written):
    """Two of them need each other."""

    n = flow.IntParameter()

    def requires(self) -> Any:
        return Knot(n=1 - self.n)


class RequiresTarget(Written):
    """A mistake that people make."""

    def requires(self) -> Any:
        return flow.LocalTarget("somewhere")


class RequiresRaises(Written):
    """Its requirements cannot be known."""

    def requires(self) -> Any:
        raise KeyError("no such table")


class RequiresWrongly(Written):
    """It names a requirement with a value that is none."""

    def requires(self) -> Any:
        return Leaf(key="a", n="seven")


class CompleteRaises(Written):
    """Whether it is complete cannot be known."""

    def complete(self) -> bool:
        raise OSError("the bucket is gone")


class Typed(Written):
    """Parameters of several kinds."""

    day = flow.DateParameter()
    count = flow.IntParameter(default=1)


class TightOne(Gated):
    """Holds what the other one waits for."""

    priority = 0
    resources = {"tight": 1}

    def name(self) -> str:
        return f"Tight-{self.key}-{self.n}"


class Tight(flow.WrapperTask):
    """Two of which one can run."""

    key = flow.StrParameter()

    def requires(self) -> Any:
        return [TightOne(key=self.key, n=n) for n in range(2)]


class YieldsItself(Written):
    """Waits for itself."""

    def run(self) -> Any:
        yield YieldsItself()


class YieldsKnot(Written):
    """Yields what needs it."""

    def run(self) -> Any:
        yield NeedsYieldsKnot()


class NeedsYieldsKnot(Written):
    """The other half of the knot."""

    def requires(self) -> Any:
        return YieldsKnot()


class YieldsNonsense(Written):
    """Yields what is no task."""

    def run(self) -> Any:
        yield 7
