"""The ``__main__`` of children that multiprocessing starts afresh from a task of a script.

They run what the task's ``__main__.__spec__`` names, as a module. Were that the script itself, they
would have it twice, as ``__main__`` and under the name that its functions are pickled by, and no
class of one would be that of the other. ``flow.as_main.report`` imports ``report`` and shows what
is in it: ``__main__.X`` is ``report.X`` there too.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType
from typing import Any, Final

#: With it, names below this module are looked for.
__path__: list[str] = []
_PREFIX: Final = f"{__name__}."
_CODE: Final = "from flow.as_main import show; show({name!r}, globals())"
#: What a module has of its own, whatever it shows.
_OWN: Final = {"__name__", "__spec__", "__loader__", "__package__", "__cached__", "__builtins__"}


def show(script: str, names: dict[str, Any]) -> None:
    """Import a script by its name and take over all that is in it."""
    module = importlib.import_module(script)
    names.update((name, value) for name, value in vars(module).items() if name not in _OWN)


class _Scripts:
    """Finds and loads what is below this module."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name.startswith(_PREFIX) else None  # type: ignore[arg-type]

    def get_code(self, name: str) -> CodeType:
        return compile(_CODE.format(name=name.removeprefix(_PREFIX)), __file__, "exec")


sys.meta_path.append(_Scripts())
