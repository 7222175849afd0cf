"""Tasks whose defaults a command line gives. Copied as ``flowtasks``, and once more for luigi."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from ledger_writer import wait_for  # type: ignore[import-not-found]

HERE = Path(__file__).parent
#: ``oldtasks`` is this very file, too.
lib: Any = importlib.import_module("luigi" if __name__ == "oldtasks" else "flow")


class site(lib.Config):  # type: ignore[misc]
    """Read inside ``run()``, and where outputs are."""

    base = lib.Parameter(default="none")


#: What a module keeps is for all runs.
KEPT = site().base


class Written(lib.Task):  # type: ignore[misc]
    """A task that writes what it knows of its surroundings."""

    key = lib.Parameter()

    def output(self) -> Any:
        return lib.LocalTarget(str(HERE / "out" / f"{self.get_task_family()}-{self.key}"))

    def note(self, *words: object) -> None:
        with self.output().open("w") as out:
            out.write(" ".join(map(str, (*words, site().base, KEPT))))


class Leaf(Written):
    """The bottom."""

    n = lib.IntParameter(default=0)

    def run(self) -> Any:
        self.note(self.n)


class Spaced(Written):
    """A family with a namespace."""

    task_namespace = "deep.space"
    n = lib.IntParameter(default=0)

    def run(self) -> Any:
        self.note(self.n)


class Steps(Written):
    """A generator that waits between its steps until a file appears."""

    gate = lib.Parameter(default="")

    def run(self) -> Any:
        words = [Leaf(key="unused").n, site().base]
        yield Leaf(key=f"{self.key}-1")
        if self.gate:
            wait_for(f"open-{self.gate}")
        words += [Leaf(key="unused").n, site().base]
        yield Leaf(key=f"{self.key}-2")
        self.note(*words, Leaf(key="unused").n)


class Root(Written):
    """What is submitted. ``start_date`` looks like a value for a family ``start``."""

    start_date = lib.Parameter(default="")
    gate = lib.Parameter(default="")

    def requires(self) -> Any:
        return [
            Leaf(key=self.key),
            Spaced(key=self.key),
            Steps(key=self.key, gate=self.gate),
        ]

    def run(self) -> Any:
        self.note(*[Path(each.path).read_text().split()[0] for each in self.input()])


class Shares(Written):
    """Needs a task that other runs need, too, and that waits until a file appears."""

    def requires(self) -> Any:
        return Common()

    def run(self) -> Any:
        self.note("done")


class Common(lib.Task):  # type: ignore[misc]
    """One task of many runs."""

    def output(self) -> Any:
        return lib.LocalTarget(str(HERE / "out" / "Common"))

    def run(self) -> Any:
        wait_for("open-common")
        with self.output().open("w") as out:
            out.write(site().base)
