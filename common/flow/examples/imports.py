"""Which modules does a source tree import most? By default: Python's own standard library.

Run it with ``flow run flow.examples.imports TopImports``, for another tree with ``--root DIR``.

Four layers of tasks: every module file and every package directory is parsed by a task of its own
(``CountImports``), those with the same initial letter are merged (``GroupImports``), then all
(``TotalImports``), and ``TopImports`` writes the report. Results are files below ``--out``; when it
is run again, what is there is not made again.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import flow

#: Directories that hold no sources of the tree itself.
SKIPPED_DIRECTORIES = frozenset({"__pycache__", "site-packages", "dist-packages", "node_modules"})
#: A larger file is counted as unparsable: it is data, not something that people wrote.
SOURCE_BYTES_MAX = 8 << 20
NAME_CHARS_MAX = 60
DIGEST_CHARS = 10


class TreeTask(flow.Task):
    """What all tasks share: the tree they look at and the directory they write to."""

    root = flow.PathParameter(
        default=sysconfig.get_path("stdlib"),
        absolute=True,
        description="directory of the source tree",
    )
    out = flow.PathParameter(default="flow-imports", description="directory of the results")

    def result(self, name: str) -> flow.LocalTarget:
        """Return the target of this name; each tree has a directory of its own."""
        tree = f"{self.root.name or 'root'}-{_digest(str(self.root))}"
        return flow.LocalTarget(self.out / tree / name)


class CountImports(TreeTask):
    """Parses one module file, or the files that lie directly in one package directory."""

    unit = flow.StrParameter(description="file or directory, relative to the root")

    def output(self) -> flow.LocalTarget:
        readable = "".join(c if c.isalnum() else "-" for c in self.unit)[:NAME_CHARS_MAX]
        return self.result(f"units/{readable}-{_digest(self.unit)}.json")

    def run(self) -> None:
        place = self.root / self.unit
        files = _sources_in(place) if place.is_dir() else [place]
        importers: Counter[str] = Counter()
        unparsable = 0
        for file in files:
            modules = imported_modules(file)
            if modules is None:
                unparsable += 1
            else:
                importers.update(modules)
        _write(self.output(), len(files), unparsable, importers)


class GroupImports(TreeTask):
    """Adds up what starts with the same letter."""

    initial = flow.StrParameter()

    def requires(self) -> list[flow.Task]:
        units = units_of(self.root, self.initial)
        return [CountImports(root=self.root, out=self.out, unit=unit) for unit in units]

    def output(self) -> flow.LocalTarget:
        return self.result(f"groups/{self.initial}.json")

    def run(self) -> None:
        _merge(self.input(), self.output())


class TotalImports(TreeTask):
    """Adds up the groups."""

    def requires(self) -> list[flow.Task]:
        if not self.root.is_dir():
            raise NotADirectoryError(f"--root {self.root} is not a directory")
        initials = sorted({_initial(unit) for unit in units_of(self.root)})
        return [GroupImports(root=self.root, out=self.out, initial=each) for each in initials]

    def output(self) -> flow.LocalTarget:
        return self.result("total.json")

    def run(self) -> None:
        _merge(self.input(), self.output())


class TopImports(TreeTask):
    """Reports the most imported modules."""

    limit = flow.IntParameter(default=25, description="how many modules the report shows")

    def requires(self) -> flow.Task:
        return TotalImports(root=self.root, out=self.out)

    def output(self) -> flow.LocalTarget:
        return self.result(f"top-{self.limit}.txt")

    def run(self) -> None:
        total = _read(self.input())
        # Equal counts in alphabetical order: the report of a tree is always the same.
        ranking = sorted(total["importers"].items(), key=lambda pair: (-pair[1], pair[0]))
        lines = [
            f"Most imported modules of {self.root}",
            f"{total['files']:,} files, {total['unparsable']:,} of them unparsable, "
            f"{len(ranking):,} modules imported",
            "",
            " files  module",
        ]
        lines += [f"{count:6,}  {module}" for module, count in ranking[: self.limit]]
        report = "\n".join(lines) + "\n"
        with self.output().open("w") as out:
            out.write(report)
        print(report)
        print(f"Written to {os.path.abspath(self.output().path)}")


def imported_modules(file: Path) -> set[str] | None:
    """Return the top-level modules a file imports, or None if it is not readable Python."""
    try:
        if file.stat().st_size > SOURCE_BYTES_MAX:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # odd escapes are the author's business
            tree = ast.parse(file.read_bytes(), str(file))
        return set(_imports(tree))
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError):
        return None


def units_of(root: Path, initial: str = "") -> list[str]:
    """Return module files and package directories, those of one initial letter or all, sorted."""
    units = []
    for entry in _entries(root):
        if initial and _initial(entry.name) != initial:
            continue
        if entry.is_file():
            units.append(entry.name)
            continue
        for directory, subdirectories, _ in os.walk(entry.path):
            subdirectories[:] = filter(_is_searched, subdirectories)
            if _sources_in(Path(directory)):
                units.append(os.path.relpath(directory, root))
    return sorted(units)


def _imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def _entries(root: Path) -> list[os.DirEntry[str]]:
    """Return the module files and the directories at the top of the tree."""
    with os.scandir(root) as entries:
        return [
            entry
            for entry in entries
            if (_is_source(entry.name) and entry.is_file())
            or (_is_searched(entry.name) and entry.is_dir(follow_symlinks=False))
        ]


def _sources_in(directory: Path) -> list[Path]:
    try:
        with os.scandir(directory) as entries:
            names = [e.name for e in entries if _is_source(e.name) and e.is_file()]
    except OSError:
        return []
    return [directory / name for name in sorted(names)]


def _is_source(name: str) -> bool:
    return name.endswith(".py") and _is_text(name)


def _is_searched(name: str) -> bool:
    return not name.startswith(".") and name not in SKIPPED_DIRECTORIES and _is_text(name)


def _is_text(name: str) -> bool:
    """Tell whether a name can be a parameter; a file system may hold names that are no text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _initial(name: str) -> str:
    first = name[0].lower()
    return first if first.isascii() and first.isalpha() else "_"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_CHARS]


def _merge(parts: Iterable[flow.LocalTarget], whole: flow.LocalTarget) -> None:
    files = unparsable = 0
    importers: Counter[str] = Counter()
    for part in parts:
        counted = _read(part)
        files += counted["files"]
        unparsable += counted["unparsable"]
        importers.update(counted["importers"])
    _write(whole, files, unparsable, importers)


def _read(target: flow.LocalTarget) -> Any:
    with target.open("r") as source:
        return json.load(source)


def _write(target: flow.LocalTarget, files: int, unparsable: int, importers: Counter[str]) -> None:
    counted = {
        "files": files,
        "unparsable": unparsable,
        "importers": dict(sorted(importers.items())),
    }
    with target.open("w") as out:
        json.dump(counted, out)


if __name__ == "__main__":
    flow.run()
