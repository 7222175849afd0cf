"""Which tasks share a place: family, version, every significant parameter, and if asked more.

Unlike the task id this counts HIDDEN parameters, and the whole of long values. PRIVATE ones never
leave the process that made the task, so another process could not find what they lead to.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any, Final

from flow import registry
from flow.artifacts.errors import ArtifactError
from flow.identity import SUMMARY_CHARS_MAX, SUMMARY_PARAMS_MAX
from flow.parameters.base import Parameter, ParameterVisibility

if TYPE_CHECKING:
    from flow.task import Task

#: Of the hash in a folder's name: 80 bits, so that no two tasks ever meet.
HASH_BYTES: Final = 10
#: Hexadecimal digits of the hash.
HASH_CHARS: Final = 2 * HASH_BYTES
#: Of a name's readable part.
READABLE_CHARS_MAX: Final = 80
#: Of the hash behind a readable part that does not say all.
_SHORT_HASH_BYTES: Final = 4
#: Keys under which a task keeps what was computed.
_FOLDER: Final = "_flow_artifact_folder"
_KEY: Final = "_flow_artifact_key"
_OPEN: Final = "_flow_artifact_open"

_odd = re.compile(r"[^A-Za-z0-9_.-]+")


def folder_of(task: Task) -> tuple[str, ...]:
    """Return the parts of a task's own folder: ``Family[/version]/summary_hash``; kept."""
    folder: tuple[str, ...] | None = task.__dict__.get(_FOLDER)
    if folder is None:
        family = family_folder(task.task_family)
        version = version_of(task)
        middle = (version_folder(version),) if version is not None else ()
        named = _named(_key(task), [text for _, text in _significant(task)])
        folder = task.__dict__[_FOLDER] = (family, *middle, named)
    return folder


def family_folder(family: str) -> str:
    """Name the folder of a family. Different families may share one: hashes keep them apart."""
    return _readable(family).lstrip(".") or "_"


def version_folder(version: str) -> str:
    """Name the folder of a version; never equal for two versions."""
    readable = _readable(version)
    return f"v{readable}" if readable == version else f"v{readable}-{_short_hash(version)}"


def version_of(task: Task | type[Task]) -> str | None:
    """Return the class attribute ``version`` as text; None where the class has none.

    A *parameter* of that name counts as the parameter it is.

    Raises:
        ArtifactError: It is neither text nor a number.
    """
    cls = task if isinstance(task, type) else type(task)
    version = getattr(cls, "version", None)
    if version is None or isinstance(version, Parameter):
        return None
    if isinstance(version, (str, int, float)):
        return str(version)
    raise ArtifactError(
        f"{cls.__name__}.version is {version!r}, but must be text or a number",
        hint='write  version = "2"',
    )


def is_task_folder(name: str) -> bool:
    """Tell whether a folder's name is that of a task, as opposed to a version's."""
    return re.fullmatch(rf"(.+_)?[0-9a-f]{{{HASH_CHARS}}}", name) is not None


def _key(task: Task) -> str:
    """Return the hash of what identifies a task's artifacts; kept.

    The requirements are walked with a stack of our own: chains are longer than Python's. A task
    that is met while its own requirements are walked is on a cycle, which planning reports better;
    here it counts without them.
    """
    known = task.__dict__.get(_KEY)
    if known is not None:
        return str(known)
    if task.__dict__.get(_OPEN):
        raise ArtifactError(
            f"requires() of {task!r} asks for an artifact of the task itself, whose path depends "
            "on what it requires",
            hint="compute requires() from parameters only",
        )
    stack: list[_Walk] = []
    try:
        stack.append(_Walk(task))
        while stack:
            walk = stack[-1]
            if walk.left:
                required = walk.left.pop()
                key = required.__dict__.get(_KEY)
                if key is None and not required.__dict__.get(_OPEN):
                    walk.left.append(required)
                    stack.append(_Walk(required))
                else:
                    walk.keys.add(key or _hashed(required, []))
                continue
            walk.task.__dict__[_KEY] = _hashed(walk.task, sorted(walk.keys))
            stack.pop().close()
    finally:
        for each in stack:
            each.close()
    return str(task.__dict__[_KEY])


class _Walk:
    """A task whose requirements are being looked at."""

    def __init__(self, task: Task) -> None:
        self.task = task
        task.__dict__[_OPEN] = True
        self.left: list[Task] = []
        self.keys: set[str] = set()
        try:
            if _follows(task):
                self.left = list(task._requires())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """The task may be asked again."""
        self.task.__dict__.pop(_OPEN, None)


def _follows(task: Task) -> bool:
    """Tell whether requirements count: where asked for, and where a task makes nothing itself."""
    base: Any = registry.bases().task
    return bool(task.artifact_follows_requirements) or type(task).output is base.output


def _hashed(task: Task, required: list[str]) -> str:
    pairs = sorted(_significant(task))
    body = json.dumps([task.task_family, version_of(task), pairs, required])
    return hashlib.blake2b(body.encode(), digest_size=HASH_BYTES).hexdigest()


def _significant(task: Task) -> list[tuple[str, str]]:
    """Return (name, text) of what counts, by name."""
    params: Any = type(task)._flow_signature.params
    return sorted(
        (name, text)
        for (name, param), text in zip(params, task._flow_texts, strict=True)
        if param.significant and param.visibility != ParameterVisibility.PRIVATE
    )


def _named(key: str, texts: list[str]) -> str:
    shown = [_odd.sub("_", text)[:SUMMARY_CHARS_MAX] for text in texts[:SUMMARY_PARAMS_MAX]]
    summary = "_".join(filter(None, shown)).strip("._-")
    return f"{summary}_{key}" if summary else key


def _readable(text: str) -> str:
    return _odd.sub("_", text)[:READABLE_CHARS_MAX]


def _short_hash(text: str) -> str:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_SHORT_HASH_BYTES)
    return digest.hexdigest()
