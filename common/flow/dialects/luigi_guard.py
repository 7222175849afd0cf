"""Refuse ``luigi.build()`` and the like while a module is imported to plan or run its tasks.

Modules take these functions by name (``from luigi import build``), so what they call first is
replaced for as long as the import takes: ``_schedule_and_run`` for ``build()``; the parser of
command lines for ``run()`` and the commands of luigi and gokart, which turn any error behind that
into ``sys.exit()``. luigi is looked up, never imported; where the module itself imports it, the
guard is there as soon as luigi is. Afterwards luigi is what it was.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Final

_INTERFACE: Final = "luigi.interface"
_LIBRARIES: Final = ("luigi", "gokart")
#: Told what was called, makes the error.
Refusal = Callable[[str], Exception]


@contextlib.contextmanager
def refusing(refusal: Refusal) -> Iterator[None]:
    """Have everything that would start a run of luigi's raise in the block."""
    with contextlib.ExitStack() as stack:
        interface = sys.modules.get(_INTERFACE)
        if interface is not None:
            stack.enter_context(_guarded(interface, refusal))
        else:
            watcher: Any = _Watcher(lambda module: stack.enter_context(_guarded(module, refusal)))
            sys.meta_path.insert(0, watcher)
            stack.callback(_remove, watcher)
        yield


@contextlib.contextmanager
def _guarded(interface: Any, refusal: Refusal) -> Iterator[None]:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise refusal(_call())

    parser = interface.CmdlineParser
    run, parse = interface._schedule_and_run, vars(parser)["global_instance"]
    guard = staticmethod(refuse)
    interface._schedule_and_run, parser.global_instance = refuse, guard
    try:
        yield
    finally:
        # What a module itself put there meanwhile is the module's.
        if interface._schedule_and_run is refuse:
            interface._schedule_and_run = run
        if vars(parser).get("global_instance") is guard:
            parser.global_instance = parse


class _Watcher:
    """A finder of modules that finds none by itself, and tells when luigi's is there."""

    def __init__(self, told: Callable[[ModuleType], object]) -> None:
        self._told = told

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _INTERFACE:
            return None
        others = (each for each in list(sys.meta_path) if each is not self)
        found = (each.find_spec(name, path, target) for each in others)
        spec = next((each for each in found if each is not None), None)
        if spec is not None and spec.loader is not None:
            loader: Any = spec.loader
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                self._told(module)

            loader.exec_module = exec_module
        return spec


def _remove(watcher: Any) -> None:
    with contextlib.suppress(ValueError):  # a module may have replaced what is in there
        sys.meta_path.remove(watcher)


def _call() -> str:
    """Return what a module called, as it reads there: the outermost frame of these libraries."""
    name = "luigi.run"
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_name != "<module>":
        library = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if library in _LIBRARIES:
            name = f"{library}.{frame.f_code.co_name}"
        frame = frame.f_back  # type: ignore[assignment]
    return f"{name}()"
