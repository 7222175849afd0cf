"""What ``flow clean`` would remove, and removing it: only what the outputs of tasks name.

Nothing here asks or prints; nobody but the command and the removal of temporary artifacts calls it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flow.artifacts.artifact import Artifact
from flow.artifacts.errors import ArtifactError
from flow.artifacts.identity import family_folder, is_task_folder, version_folder, version_of
from flow.artifacts.location import StorageRoot, storage_root
from flow.structure import flatten
from flow.targets.paths import join_inside
from flow.targets.remote_files import RemoteFileSystem

if TYPE_CHECKING:
    from flow.task import Task

#: Targets that are asked whether they exist at the same time.
THREADS_MAX: Final = 16

#: Why something stays.
NOT_ARTIFACT: Final = "no artifact; --all-outputs removes it too"
NOT_OURS: Final = "an external task's output: flow did not make it"
NO_REMOVE: Final = "this kind of target cannot be removed"


class Removal(NamedTuple):
    """One thing that can go."""

    task: str  #: as people write it; of stale folders the family
    task_id: str  #: empty: a folder of another version
    path: str
    remove: Callable[[], None]


class Kept(NamedTuple):
    """An output that exists and stays."""

    task: str
    path: str
    why: str


class RemovalPlan(NamedTuple):
    """What to do, in an order that never leaves a task complete without its requirements."""

    removals: list[Removal]
    kept: list[Kept]


def walk(task: Task, depth: int | None) -> list[Task]:
    """Return a task and what it requires, ``depth`` levels of it (None: all), nearest first."""
    from flow.seam import key_of  # who declares artifacts does not need them

    seen = {key_of(task): task}
    level = [task]
    while level and (depth is None or depth > 0):
        depth = None if depth is None else depth - 1
        below: list[Task] = []
        for current in level:
            for required in current.deps():
                key = key_of(required)
                if key not in seen:
                    seen[key] = required
                    below.append(required)
        level = below
    return list(seen.values())


def plan(tasks: Iterable[Task], *, all_outputs: bool = False) -> RemovalPlan:
    """Look which outputs of these tasks exist, and which of them may go."""
    asked = [(task, target) for task in tasks for target in flatten(task.output())]
    with ThreadPoolExecutor(THREADS_MAX) as threads:
        there = list(threads.map(lambda each: bool(each[1].exists()), asked))
    removals: dict[str, Removal] = {}
    kept = []
    for (task, target), exists in zip(asked, there, strict=True):
        if not exists:
            continue
        path = str(getattr(target, "path", target))
        why = _why_kept(task, target, all_outputs)
        if why:
            kept.append(Kept(repr(task), path, why))
        else:
            removals.setdefault(path, Removal(repr(task), task.task_id, path, target.remove))
    return RemovalPlan(list(removals.values()), kept)


def _why_kept(task: Task, target: Any, all_outputs: bool) -> str:
    from flow.task import is_external

    if isinstance(target, Artifact):
        return ""
    if is_external(task):
        return NOT_OURS
    if not all_outputs:
        return NOT_ARTIFACT
    return "" if callable(getattr(target, "remove", None)) else NO_REMOVE


def plan_stale(cls: type[Task]) -> RemovalPlan:
    """Look for artifacts of a task class under the root that its present ``version`` never uses.

    Those are whole folders: of other versions, and, where the class has a version, of tasks from
    before it had one. What a changed requirement has made unused cannot be told from the outside.

    Raises:
        ArtifactError: The family's folder could be shared with another family.
    """
    family = cls.get_task_family()
    if family_folder(family) != family:
        raise ArtifactError(
            f"the folder of {family!r} under the storage root may hold other families too",
            hint="name the tasks to clean one by one",
        )
    version = version_of(cls)
    current = version_folder(version) if version is not None else None
    root = storage_root()
    stale = [
        name
        for name in _folders(root, family)
        if not _is_current(name, current.casefold() if current is not None else None)
    ]
    return RemovalPlan(
        [
            Removal(family, "", f"{root.path}/{family}/{name}/", _remover(root, f"{family}/{name}"))
            for name in sorted(stale)
        ],
        [],
    )


def remove_temporary(task: Task) -> list[str]:
    """Remove the temporary artifacts of a task; return their paths. May be repeated."""
    found = [
        target
        for target in flatten(task.output())
        if isinstance(target, Artifact) and target.temporary
    ]
    for target in found:
        target.remove()
    return [target.path for target in found]


def _is_current(name: str, current: str | None) -> bool:
    """Tell whether a folder of a family may be in use; what is not ours counts as used."""
    if is_task_folder(name):
        return current is None
    return not name.startswith("v") or name.casefold() == current


def _folders(root: StorageRoot, family: str) -> list[str]:
    if root.is_remote:
        url = f"{root.path}/{family}"
        return RemoteFileSystem(url).folders(url)
    try:
        with os.scandir(f"{root.path}/{family}") as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _remover(root: StorageRoot, inside: str) -> Callable[[], None]:
    def remove() -> None:
        path = join_inside(root.path or "/", inside)
        if root.is_remote:
            RemoteFileSystem(path).remove(path)
        else:
            shutil.rmtree(path)

    return remove
