"""Tasks that are parameters of tasks, as text in which each of them is written once.

A task that is handed from step to step holds all steps before it. Written within each other their
texts grow with every step, and where two parameters lead to one task they double. Here they are a
list, and who holds whom is said by places in it.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from flow import seam
from flow.errors import UsageError
from flow.parameters.parts import Made
from flow.wire.names import HELD

#: How much of an id tells a task from others, for people.
_HASH_CHARS: Final = 10
#: Of what is packed; a text of as many bytes as parameters may have holds less.
BYTES_MAX: Final = 64 << 20


def write(tasks: Sequence[Any], *, packed: bool = False) -> str:
    """Spell tasks, and all that they hold. What are the same tasks is the same text.

    ``packed``: much smaller where tasks have many parameters; the text may be another on a host
    that packs otherwise.
    """
    table = _Table()
    places = [table.add(task) for task in tasks]
    written: dict[str, Any] = {"rows": table.rows, "at": places}
    if packed:
        spelled = zlib.compress(json.dumps(written).encode())
        written = {"packed": base64.b64encode(spelled).decode("ascii")}
    # first what people are shown of it
    return json.dumps({"held": _called(tasks), **written})


def _called(tasks: Sequence[Any]) -> str:
    return ", ".join(f"{task.task_family}_{task.task_id[-_HASH_CHARS:]}" for task in tasks)


def is_written(text: str) -> bool:
    """Tell whether ``write`` made this text."""
    return text.startswith(HELD)


def read(text: str) -> list[Any]:
    """Make the tasks that ``write`` spelled.

    Raises:
        UsageError: The text is damaged; or as ``flow.modules.loading.load_task``.
    """
    from flow.modules.loading import load_task  # loading asks dialects

    made: list[Any] = []
    written = _understood(text)
    for module, family, texts, held in written.rows:
        named: dict[str, Any] = dict(texts)
        for name, places in held.items():
            named[name] = Made([made[at] for at in places])
        made.append(load_task(module, family, named))
    return [made[at] for at in written.at]


class _Written(msgspec.Struct):
    """What ``write`` spells: (module, family, texts, places of what is held) of each task."""

    rows: list[tuple[str, str, dict[str, str], dict[str, list[int]]]]
    at: list[int]


def _understood(text: str) -> _Written:
    try:
        found = json.loads(text)
        if "packed" in found:
            packed = base64.b64decode(msgspec.convert(found["packed"], str))
            found = json.loads(zlib.decompressobj().decompress(packed, BYTES_MAX))
        written = msgspec.convert(found, _Written)
        named = [(at, len(written.rows)) for at in written.at]
        for place, (*_, held) in enumerate(written.rows):
            named += [(at, place) for places in held.values() for at in places]
        if not all(0 <= at < stop for at, stop in named):
            raise ValueError("it names tasks that are not in it")
        return written
    except (ValueError, zlib.error) as error:  # what msgspec and json raise are ValueErrors
        raise UsageError(f"not tasks as flow writes them: {text:.100} ({error})") from None


class _Table:
    """Tasks in an order in which each comes after those that it holds."""

    def __init__(self) -> None:
        self.rows: list[Any] = []
        self._places: dict[int, int] = {}
        #: the same for what was written: two objects may be one task
        self._written: dict[str, int] = {}

    def add(self, task: Any) -> int:
        """Return the place of a task, which it gets if it has none."""
        known = self._places.get(id(task))
        if known is not None:
            return known
        parts = seam.dialect_of(type(task)).parts(task)
        held = {name: [self.add(each) for each in tasks] for name, tasks in parts.held.items()}
        row = [seam.module_of(task), task.task_family, parts.texts, held]
        place = self._written.setdefault(json.dumps(row), len(self.rows))
        if place == len(self.rows):
            self.rows.append(row)
        self._places[id(task)] = place
        return place
