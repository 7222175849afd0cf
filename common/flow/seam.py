"""The seam between the engine and the library that a task was written with.

Most tasks are flow's own. Those of the real ``luigi`` package (and of gokart, which builds on it)
are run by the same engine; what differs is asked here, of the ``Dialect`` of the task's class. A
process that never imported luigi does not pay for this: luigi is looked up, never imported, and
its dialect is loaded like a plugin, by name.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final

from flow import events, registry
from flow.dynamic import DynamicRequirements
from flow.modules import origins
from flow.parameters import errors
from flow.parameters.base import NO_VALUE
from flow.parameters.defaults import given, resolve_default
from flow.parameters.packing import packed_params
from flow.parameters.parts import Parts
from flow.parameters.scalar import BoolParameter
from flow.wire.names import BARE, TAKEN

#: (loaded in every process that has imported the library, defined last there, its dialect)
_LIBRARIES: Final = (("luigi.task", "WrapperTask", "flow.dialects.luigi_tasks"),)

#: Refuses runs of libraries that are imported already, or in the block.
_GUARD: Final = "flow.dialects.luigi_guard"


class Dialect:
    """How the tasks of one library are found, made, named and judged. This one: flow's own.

    Attributes:
        dynamic: What a generator may yield around its tasks.
    """

    dynamic: type = DynamicRequirements

    @property
    def task(self) -> type:
        """The base of all tasks."""
        return registry.bases().task

    @property
    def wrapper(self) -> type:
        """The base of tasks that only require others."""
        return registry.bases().wrapper

    # ------------------------------------------------------------------ classes

    def generation(self) -> int:
        """Return a number that changes when classes do."""
        return registry.generation

    def every_class(self) -> list[Any]:
        """Return all classes that can be found by their family."""
        return registry.every_class()

    def classes_of(self, family: str) -> list[Any]:
        """Return the classes of a family, in the order of definition."""
        return list(registry.classes_of(family))

    def families_of(self, module: str) -> list[str]:
        """Return the families that a module defines, in the order of definition."""
        return registry.families_of(module)

    def families(self) -> list[str]:
        """Return all families, what the library itself brings left out."""
        return registry.Register.task_names()

    def module(self, cls: Any) -> str:
        """Return what another process imports to get a class."""
        return str(cls.task_module)

    def is_library(self, cls: Any) -> bool:
        """Tell whether every module offers this class because the library brings it."""
        return str(cls.__module__).startswith("flow.patterns.")

    def importing(self) -> None:
        """Be told that the import of a program begins."""

    def imported(self) -> None:
        """Be told that it has ended: whatever class came meanwhile is of that program."""

    def on_script(self, name: str, wire_name: str) -> None:
        """Be told that a script was loaded, and its name in ``sys.modules``."""

    # ------------------------------------------------------------------ making and naming

    def names(self, cls: Any) -> Sequence[str]:
        """Return the names of a class's parameters, in their order."""
        names: Sequence[str] = cls._flow_signature.names
        return names

    def owner_of(self, qualified: str) -> tuple[str, str] | None:
        """Return family and parameter of ``Family_parameter``, if there are such."""
        return registry.owner_of(qualified)

    def always_in_help(self) -> list[tuple[Any, str, Any]]:
        """Return (class, name, parameter) of what every task's help shows."""
        classes = [cls for each in registry.Register.task_names() for cls in self.classes_of(each)]
        return [
            (cls, name, param)
            for cls in classes
            for name, param in cls.get_params()
            if param.always_in_help
        ]

    def check_names(self, cls: Any, names: Mapping[str, Any]) -> None:
        """Raise ``UnknownParameter`` for the first name that is no parameter.

        What the command line gives to tasks of another family is named with the root's own.
        """
        known = self.names(cls)
        if TAKEN in names:
            errors.check_taken(cls.get_task_family(), names[TAKEN].split(), known)
        if BARE in names:
            flags = [name for name, param in cls.get_params() if self.is_flag(param)]
            errors.check_bare(cls.get_task_family(), names[BARE].split(), known, flags)
        for name in names:
            if name in known or name in (TAKEN, BARE):
                continue
            owners = filter(None, [each.owner_of(name) for each in (NATIVE, *others())])
            owner = next(owners, None)
            if owner is None:
                raise errors.unknown(cls.get_task_family(), name, known)
            if name not in given():
                raise errors.not_for_all(cls.get_task_family(), name, *owner)

    def make(self, cls: Any, named: Mapping[str, Any]) -> Any:
        """Make a task from strings; a list of strings is joined by the ``batch_method``."""
        return cls.from_str_params(named)

    def parts(self, task: Any) -> Parts:
        """Return ``strings``, with tasks in place of the texts that would hold those of others."""
        signature = type(task)._flow_signature
        texts, held = {}, {}
        for name, index in signature.sent:
            value = task._flow_values[index]
            kind = type(signature.params[index][1])
            if value is not None and vars(kind).get("holds_one_task"):
                held[name] = [value]
            else:
                texts[name] = task._flow_texts[index]
        return Parts(texts, held)

    def strings(self, task: Any) -> dict[str, str]:
        """Return the parameters from which another process makes this task."""
        return dict(task.to_str_params())

    def home(self, task: Any) -> str:
        """Return what another process imports to make this task: its class, and what it names."""
        return str(task.task_module)

    def holders(self, cls: Any) -> Sequence[str]:
        """Return the names of parameters that may hold classes or tasks, and count for the id."""
        names: Sequence[str] = cls._flow_signature.holders
        return names

    def packed(self, task: Any) -> bytes:
        """Return ``strings``, packed."""
        return packed_params(task)

    def is_flag(self, param: Any) -> bool:
        """Tell whether a parameter may be named on a command line without a value: it is true."""
        return isinstance(param, BoolParameter)

    def untyped(self, task: Any) -> dict[str, Any]:
        """Return values by name that are no text, of parameters that give back only text."""
        values: dict[str, Any] = type(task)._flow_signature.untyped(task._flow_values)
        return values

    def policy(self, task: Any) -> Any:
        """Return what has the attributes ``priority``, ``retry_count``, ``resources`` ... of it."""
        return task

    # ------------------------------------------------------------------ judging

    def as_answer(self, value: Any) -> bool | None:
        """Return what ``complete()`` returned as a bool; None: it means neither."""
        return bool(value) if value is True or value is False else None

    def answers_in_bulk(self, cls: Any) -> bool:
        """Tell whether ``bulk_complete`` of this class answers more than it asks."""
        return getattr(cls.bulk_complete, "__func__", None) not in registry.bases().naive

    def outputs_checked(self) -> bool:
        """Tell whether a task whose outputs are missing after ``run()`` has failed."""
        return True

    # ------------------------------------------------------------------ running

    def planning(self) -> None:
        """Be told that new tasks are planned, and none is being planned."""
        # What tasks remember on themselves, as ranges do, is of an earlier plan.
        self.forget()

    def given_changed(self) -> None:
        """Be told that what command lines give to tasks (``parameters.given``) has changed."""
        # Tasks remember what they made, with the values of before.
        self.forget()

    def planning_elsewhere(self) -> None:
        """Be told that other processes will plan and run tasks of this one."""

    def enter(self, task: Any) -> None:
        """Be told that an attempt of this task begins here."""

    def nothing_required(self, wrapper: Any) -> None:
        """Be told that a wrapper is complete because it requires nothing."""

    def prepare(self, task: Any) -> None:
        """Be told that its ``run()`` is about to be called."""

    def ask_again(self, error: Exception) -> bool:
        """Tell whether ``complete()`` raised what it does not raise when it is asked once more."""
        return False

    def process_context(self) -> str:
        """Return the dotted name of the context of every ``run()`` in the library's settings."""
        return ""

    def any_handlers(self) -> bool:
        """Tell whether this process has any event handler for these tasks."""
        return events.any_handlers()

    def forget(self) -> None:
        """Drop the instances that this process keeps for reuse."""
        registry.Register.clear_instance_cache()

    # ------------------------------------------------------------------ describing

    def default_of(self, cls: Any, name: str, param: Any) -> tuple[str, Any]:
        """Return where a configured default is from and its text, or "" and the class's own.

        The latter is ``NO_VALUE`` for a required parameter.
        """
        value, source = resolve_default(cls.get_task_family(), name, param)
        if value is not NO_VALUE:
            return source, value if isinstance(value, str) else str(value)
        return "", param.default

    def what(self, param: Any) -> str:
        """Say what kind of text a parameter takes; may be empty."""
        return str(param.what)


NATIVE = Dialect()
_of_class: dict[type, Dialect] = {}
_others: list[Dialect] = []
_plugged: set[str] = set()


def dialect_of(cls: type) -> Dialect:
    """Return the dialect of a task class. Cost: one look into a dict."""
    found = _of_class.get(cls)
    if found is None:
        found = NATIVE
        for other in others():
            if issubclass(cls, other.task):
                found = other
        _of_class[cls] = found
    return found


def others() -> list[Dialect]:
    """Return the dialects of the libraries that this process has imported, flow's own left out."""
    for loaded, last, plugin in _LIBRARIES:
        if plugin not in _plugged and hasattr(sys.modules.get(loaded), last):
            _plugged.add(plugin)
            _others.append(importlib.import_module(plugin).DIALECT)
    return _others


def refusing_runs(refusal: Callable[[str], Exception]) -> AbstractContextManager[None]:
    """Have all that would start a run of another library raise in the block.

    ``refusal`` is told what was called, and makes the error.
    """
    guard: AbstractContextManager[None] = importlib.import_module(_GUARD).refusing(refusal)
    return guard


def is_task(value: Any) -> bool:
    """Tell whether this is a task of any library."""
    return isinstance(type(value), registry.Register) or any(
        isinstance(value, each.task) for each in others()
    )


def is_task_class(value: Any) -> bool:
    """Tell whether this is a class of tasks of any library."""
    return isinstance(value, registry.Register) or (
        isinstance(value, type) and any(issubclass(value, each.task) for each in others())
    )


def is_dynamic(value: Any) -> bool:
    """Tell whether a generator yielded its tasks wrapped in ``DynamicRequirements``."""
    return isinstance(value, DynamicRequirements) or any(
        isinstance(value, each.dynamic) for each in others()
    )


def strings_of(task: Any) -> dict[str, str]:
    """Return the parameters from which another process makes this task."""
    return dialect_of(type(task)).strings(task)


def module_of(task: Any) -> str:
    """Return what another process imports to make this task: its origin (``modules.origins``)."""
    return origin_in(dialect_of(type(task)).home(task), task)


def origin_in(module: str, task: Any) -> str:
    """Return the origin of a task whose class is at home in a module."""
    if not held_by(task):
        return module
    holding = _Holding()
    return origins.spell(module, holding.homes(holding.place(task)))


def held_by(task: Any) -> list[Any]:
    """Return the task classes and tasks that a task's parameters hold; of nearly all, none."""
    cls = type(task)
    names = dialect_of(cls).holders(cls)
    if not names:
        return []
    held: list[Any] = []
    for name in names:
        value = getattr(task, name, None)
        for each in value if isinstance(value, list | tuple) else (value,):
            if is_task_class(each) or is_task(each):
                held.append(each)
    return held


def key_of(task: Any) -> tuple[Any, ...]:
    """Return what is equal for tasks of this process that are the same, and for no others."""
    if not held_by(task):
        return type(task), task.task_id
    holding = _Holding()
    holding.place(task)
    return tuple(holding.rows)


class _Holding:
    """A task and all that it holds, each once: many paths may lead from one to another."""

    def __init__(self) -> None:
        #: (class, id, what it holds: classes, and places of tasks) -> place; what is the same is
        #: in one place
        self.rows: dict[tuple[Any, ...], int] = {}
        self._tasks: list[Any] = []
        self._places: dict[int, int] = {}

    def place(self, task: Any) -> int:
        """Return where a task is, behind all that it holds."""
        known = self._places.get(id(task))
        if known is not None:
            return known
        held = [self.place(each) if is_task(each) else each for each in held_by(task)]
        place = self.rows.setdefault((type(task), task.task_id, *held), len(self.rows))
        if place == len(self._tasks):
            self._tasks.append(task)
        self._places[id(task)] = place
        return place

    def homes(self, root: int) -> list[str]:
        """Name the modules of what the task at a place holds, in the order of parameters."""
        rows = list(self.rows)
        named: list[str] = []
        seen = {root}
        stack = [iter(rows[root][2:])]
        while stack:
            each = next(stack[-1], None)
            if each is None:
                stack.pop()
            elif not isinstance(each, int):
                named.append(dialect_of(each).module(each))
            elif each not in seen:
                seen.add(each)
                task = self._tasks[each]
                named.append(dialect_of(type(task)).home(task))
                stack.append(iter(rows[each][2:]))
        return named


__all__ = [
    "NATIVE",
    "NO_VALUE",
    "Dialect",
    "dialect_of",
    "held_by",
    "is_dynamic",
    "is_task",
    "is_task_class",
    "key_of",
    "module_of",
    "origin_in",
    "others",
    "strings_of",
]
