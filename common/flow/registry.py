"""Every task class there is, by family; and the metaclass that reads a class body once.

Called at each ``class X(Task)`` and each ``X(...)``. Imports nothing by name: that is
``flow.modules.loading``.
"""

from __future__ import annotations

import sys
from abc import ABCMeta
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from flow.errors import UsageError
from flow.modules import origins, places
from flow.parameters.base import Parameter
from flow.parameters.defaults import warn_of_unconsumed
from flow.parameters.errors import shown, suggestion
from flow.parameters.signature import Signature
from flow.wire.states import PlanErrorKind

_T = TypeVar("_T")

#: Instances kept per class: at least the latest so many, at most twice as many.
INSTANCES_KEPT_MAX: Final = 8192
#: So many families are listed in an error.
LISTED_FAMILIES_MAX: Final = 30
#: Longer names get no suggestion: comparing takes quadratic time.
SUGGESTED_CHARS_MAX: Final = 200

#: Counts changes of the registry: what was looked up under another number may be outdated.
generation = 0
#: The module that the task being made was asked of. Where several classes have the family that a
#: parameter names, this module's is meant.
asked_of = ""


class Bases(NamedTuple):
    """What all tasks are made of, for those whom ``flow.task`` itself stands on."""

    task: type
    wrapper: type  #: of tasks that only require others
    naive: tuple[Any, ...]  #: functions ``bulk_complete`` that ask one task after the other


_bases: list[Bases] = []
_classes: dict[str, list[Register]] = {}
_namespaces: dict[str, str] = {}


def bases() -> Bases:
    """Return what ``flow.task`` has defined; whoever has a task of flow's has imported it."""
    return _bases[-1]


def define(bases: Bases) -> None:
    """Be told of it, by ``flow.task`` alone."""
    _bases.append(bases)


class UnknownTask(UsageError):
    """No task of this family."""

    kind = PlanErrorKind.UNKNOWN_TASK


class AmbiguousTask(UnknownTask):
    """Several task classes of one family, none of which is a subclass of all others."""


class Register(ABCMeta):
    """The class of task classes."""

    _flow_signature: Signature
    _flow_family: str
    _flow_module: str
    _flow_space: str
    _flow_plain: bool
    _flow_asked: bool  #: whether settings were asked for what this class does not know
    _flow_young: dict[Any, Any]
    _flow_old: dict[Any, Any]

    def __new__(mcs, name: str, bases: tuple[type, ...], body: dict[str, Any], **kw: Any) -> Any:
        body.setdefault("__module__", _module_of_caller())
        cls = super().__new__(mcs, name, bases, body, **kw)
        type.__setattr__(cls, "_flow_module", places.wire_name(cls.__module__))
        # What namespace() says later is for classes declared later.
        type.__setattr__(cls, "_flow_space", namespace_of(cls.__module__))
        cls._flow_read()
        if places.importing:
            places.remember((cls,))
        if body.get("_visible_in_registry", True):
            _register(cls)
        return cls

    def __call__(cls: type[_T], /, *args: Any, **kwargs: Any) -> _T:
        """Return the instance of these values, the same object while it is kept."""
        signature: Signature = cls._flow_signature  # type: ignore[attr-defined]
        values = signature.bind(args, kwargs)
        key = signature.cache_key(values)
        young: dict[Any, _T] = cls._flow_young  # type: ignore[attr-defined]
        try:
            task = young.get(key)
        except TypeError:  # a value of a user's own parameter cannot be hashed
            made: _T = cls._flow_make(values, args, kwargs)  # type: ignore[attr-defined]
            return made
        if task is None:
            task = cls._flow_old.get(key)  # type: ignore[attr-defined]
            if task is None:
                task = cls._flow_make(values, args, kwargs)  # type: ignore[attr-defined]
            if len(young) >= INSTANCES_KEPT_MAX:
                type.__setattr__(cls, "_flow_old", young)
                young = {}
                type.__setattr__(cls, "_flow_young", young)
            task = young.setdefault(key, task)  # another thread may have made it meanwhile
        return task

    def __setattr__(cls, name: str, value: Any) -> None:
        """Set a class attribute; a parameter added after the fact is read like the others."""
        super().__setattr__(name, value)
        if "_flow_signature" not in cls.__dict__:
            return  # still being made
        known = name in cls._flow_signature.names
        if known or isinstance(value, Parameter) or name in _READ_AGAIN_FOR:
            _reread(cls)

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        if name in cls._flow_signature.names:
            _reread(cls)

    @property
    def task_family(cls) -> str:
        """The name of the task: ``Name``, or ``namespace.Name``."""
        return cls._flow_family

    @property
    def task_module(cls) -> str:
        """What another process imports to get this class: a module, or ``file:/abs/path.py``."""
        return places.home_of(cls, cls._flow_module)

    def _flow_read(cls) -> None:
        """Read parameters, family and constructors, and start an empty instance cache."""
        kept: str | None = cls.__dict__.get("_flow_kept")
        family: str = kept or cls.get_task_family()  # type: ignore[attr-defined]
        put = type.__setattr__
        put(cls, "_flow_family", family)
        put(cls, "_flow_signature", Signature(family, _declared(cls)))
        inits = [base for base in cls.__mro__ if "__init__" in base.__dict__]
        makers = [base for base in cls.__mro__ if "__new__" in base.__dict__]
        plain = makers[0] is object and inits[0].__dict__.get("_flow_root", False)
        put(cls, "_flow_plain", plain)
        put(cls, "_flow_asked", False)
        put(cls, "_flow_young", {})
        put(cls, "_flow_old", {})

    def _flow_make(cls, values: tuple[Any, ...], args: Any, kwargs: Any) -> Any:
        if not cls._flow_asked:
            type.__setattr__(cls, "_flow_asked", True)
            warn_of_unconsumed(cls._flow_family, cls._flow_signature.names, cls.ignore_unconsumed)  # type: ignore[attr-defined]
        if not cls._flow_plain:
            return type.__call__(cls, *args, **kwargs)
        # Nobody overrides the constructor: the values need not be bound a second time.
        signature = cls._flow_signature
        signature.check_texts(values)
        task: Any = object.__new__(cls)  # type: ignore[arg-type]
        attributes = task.__dict__
        attributes.update(zip(signature.names, values, strict=True))
        attributes["_flow_values"] = values
        return task

    @classmethod
    def clear_instance_cache(mcs) -> None:
        """Forget all instances, of all classes."""
        for classes in _classes.values():
            for cls in classes:
                type.__setattr__(cls, "_flow_young", {})
                type.__setattr__(cls, "_flow_old", {})

    @classmethod
    def disable_instance_cache(mcs) -> None:
        """Make a new instance at each call, from now on, for classes that exist."""
        for classes in _classes.values():
            for cls in classes:
                type.__setattr__(cls, "_flow_young", _Forgetful())
                type.__setattr__(cls, "_flow_old", {})

    @classmethod
    def get_task_cls(mcs, name: str) -> Any:
        """Return the class of a family. Raises ``UnknownTask``, which says what is near."""
        return find(name)

    @classmethod
    def task_names(mcs) -> list[str]:
        """Return all families, sorted."""
        return sorted(family for family, classes in _classes.items() if classes)


class _Forgetful(dict[Any, Any]):
    """A cache of nothing."""

    def setdefault(self, key: Any, default: Any = None) -> Any:
        return default


_READ_AGAIN_FOR: Final = frozenset({"__init__", "__name__", "__new__", "task_namespace"})


def wrapped(original: Any, body: dict[str, Any]) -> Any:
    """Make a subclass that passes for the class: same name, place and family."""
    copied = ("__module__", "__qualname__", "__doc__")
    named = {name: getattr(original, name) for name in copied}
    kept = {"_flow_kept": original._flow_family}
    return type(original)(original.__name__, (original,), {**named, **kept, **body})


def namespace(namespace: str | None = None, scope: str = "") -> None:
    """Put tasks declared after this call into a namespace: those of modules under ``scope``."""
    _namespaces[scope] = namespace or ""


def auto_namespace(scope: str = "") -> None:
    """Use the module's name as namespace for tasks declared after this call."""
    _namespaces[scope] = "%(module)"


def namespace_of(module: str) -> str:
    """Return the namespace of the longest scope around a module that has one."""
    if not _namespaces:
        return ""
    parts = module.split(".")
    for size in range(len(parts), -1, -1):
        found = _namespaces.get(".".join(parts[:size]))
        if found:  # one that was taken back hides no other
            return module if found == "%(module)" else found
    return ""


def every_class() -> list[Register]:
    """Return all classes that are registered."""
    return [cls for classes in _classes.values() for cls in classes]


def classes_of(family: str) -> list[Register]:
    """Return the classes of a family, in the order of definition."""
    return list(_classes.get(family, ()))


def families_of(module: str) -> list[str]:
    """Return the families that a module defines, in the order of definition."""
    return [
        family
        for family, classes in _classes.items()
        if any(cls.task_module == module for cls in classes)
    ]


def choose(family: str, classes: Sequence[Register]) -> Register:
    """Return the newest of several classes of one family, if it is a subclass of the others.

    Of one that was defined again under the same name, the newest counts.

    Raises:
        AmbiguousTask: It is not.
    """
    counting = newest_of_each(classes)
    newest: Register = counting[-1]
    if all(issubclass(newest, cls) for cls in counting):
        return newest
    listed = ", ".join(places.described(cls) for cls in counting)
    raise AmbiguousTask(
        f"task {family} is ambiguous, these classes have that name: {listed}",
        hint="rename one of them, or give it a task_namespace",
    )


def newest_of_each(classes: Iterable[Any]) -> list[Any]:
    """Return classes without those that were defined again, in one module under one name.

    Copies that a pickle made of a class do not count: the module holds the original.
    """
    newest: dict[Any, Any] = {}
    for cls in classes:
        name = cls if "<locals>" in cls.__qualname__ else cls.__qualname__
        place = places.module_of(cls), name
        if place in newest and places.is_held(newest[place]):
            continue
        newest.pop(place, None)  # the order is that of the definitions which count
        newest[place] = cls
    return list(newest.values())


def find(family: str) -> Register:
    """Return the one class of a family, whatever module it is from. Raises ``UnknownTask``."""
    classes = classes_of(family)
    if len(classes) > 1:
        # Modules of one program may have one family. This one's own are meant.
        module, held = origins.split(asked_of)
        near = [cls for cls in classes if cls.task_module in (held or (module,))]
        classes = near or classes
    if not classes:
        raise unknown_task("there is no task", family, Register.task_names())
    return choose(family, classes)


def owner_of(qualified: str) -> tuple[str, str] | None:
    """Return family and parameter of ``Family_parameter``, if there are such."""
    for family, classes in _classes.items():
        prefix, name = f"{family}_", qualified[len(family) + 1 :]
        if qualified.startswith(prefix) and any(
            name in cls._flow_signature.names for cls in classes
        ):
            return family, name
    return None


def unknown_task(problem: str, family: str, families: Sequence[str], hint: str = "") -> UnknownTask:
    """Make the error for a family that does not exist, naming what is near and what there is."""
    listed = ", ".join(families[:LISTED_FAMILIES_MAX]) or "none"
    if len(families) > LISTED_FAMILIES_MAX:
        listed += f", and {len(families) - LISTED_FAMILIES_MAX} more"
    near = suggestion(family, families) if len(family) <= SUGGESTED_CHARS_MAX else ""
    return UnknownTask(f"{problem} {shown(family)}.{near} Its tasks: {listed}", hint=hint)


def keep() -> Callable[[], None]:
    """Return a function that brings back the classes and namespaces known now, and no others."""
    classes = {family: list(each) for family, each in _classes.items()}
    namespaces = dict(_namespaces)

    def restore() -> None:
        global generation
        generation += 1
        _classes.clear()
        _classes.update(classes)
        _namespaces.clear()
        _namespaces.update(namespaces)

    return restore


def _register(cls: Register) -> None:
    global generation
    generation += 1
    same = _classes.setdefault(cls._flow_family, [])
    if "<locals>" not in cls.__qualname__:
        # A notebook cell run again, or a reloaded module: the new class takes the old one's place.
        same[:] = [
            old
            for old in same
            if (old._flow_module, old.__qualname__) != (cls._flow_module, cls.__qualname__)
        ]
    same.append(cls)


def _reread(cls: Register) -> None:
    family = cls._flow_family
    cls._flow_read()
    if cls._flow_family != family and cls in _classes.get(family, []):
        _classes[family].remove(cls)
        _register(cls)
    subclasses: list[Any] = type.__subclasses__(cls)
    for subclass in subclasses:
        _reread(subclass)


def _declared(cls: type) -> dict[str, Parameter[Any]]:
    """Return the parameters a class has: its own and inherited ones that nothing hides."""
    found: dict[str, Parameter[Any]] = {}
    for base in reversed(cls.__mro__):
        for name, value in base.__dict__.items():
            if isinstance(value, Parameter):
                found[name] = value
            elif name in found:
                del found[name]
    return found


def _module_of_caller() -> str:
    frame = sys._getframe(2)
    return str(frame.f_globals.get("__name__", "__main__"))
