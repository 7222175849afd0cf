"""Where another process finds a class: names of modules on the wire, and the imports that make it.

Most classes are held by their module under their own name, and whoever imports it has them. Those
made by ``type()``, by a closure, or twice under one name are not: the program whose import made
them is what another process imports to have them too. Those made later, as in ``requires()``, no
other process has.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any, Final

#: What a module of a script is called on the wire starts with this.
FILE_PREFIX: Final = "file:"
MAIN: Final = "__main__"
#: What is below these is a command that was installed, not the program of a user.
_INSTALLED: Final = ("stdlib", "purelib", "platlib", "scripts")

#: Folder of the code that was sent along with the run, if it was: scripts are named below it, so
#: that their names are the same wherever it is unpacked.
package_folder = ""
#: Name of a loaded script in ``sys.modules`` -> ``file:/abs/path.py``.
script_names: dict[str, str] = {}
#: Classes that say ``__main__`` -> the name of their module in this process.
modules_of_main: dict[Any, str] = {}
#: Class -> the program, as ``load_module`` was asked for it, whose import made it.
made_by: dict[Any, str] = {}
#: The program that is being imported, or empty.
importing = ""
#: Whether other processes run what this one plans: it is a task process.
shares = False
#: Whether this process is a fork of the program that asked for the run: what that has made counts.
inherits = False


def script_path(name: str) -> str:
    """Return the path of the script that ``file:PATH`` names here."""
    return os.path.abspath(os.path.join(package_folder, name[len(FILE_PREFIX) :]))


def script_name(path: str) -> str:
    """Name a script for every process of its run, given its absolute path here."""
    inside = f"{package_folder}{os.sep}"
    return FILE_PREFIX + (path.removeprefix(inside) if package_folder else path)


def wire_name(module: str) -> str:
    """Return the name under which another process can import a module.

    A script run as ``__main__`` is ``file:/abs/path.py``, a module run with ``-m`` is its own name;
    a notebook, a shell and ``-c`` stay ``__main__``.
    """
    if module == MAIN:
        module = sys.modules[MAIN].__name__  # a task process takes its script for it
    if module != MAIN:
        return script_names.get(module, module)
    names = _globals_of_main()
    spec = names.get("__spec__")
    if spec is not None and spec.name != MAIN:
        return str(spec.name)
    path: str | None = names.get("__file__")
    if path and os.path.isfile(path):
        return FILE_PREFIX + os.path.abspath(path)
    return MAIN


def module_of(cls: Any) -> str:
    """Return the name of a class's module in ``sys.modules``."""
    return modules_of_main.get(cls) or str(cls.__module__)


def is_held(cls: Any) -> bool:
    """Tell whether a class is what its module has under its name: whoever imports that has it."""
    holder: Any = sys.modules.get(module_of(cls))
    for part in cls.__qualname__.split("."):
        # Not getattr: a module's own __getattr__ is user code.
        holder = getattr(holder, "__dict__", {}).get(part)
    return holder is cls


def home_of(cls: Any, wire: str) -> str:
    """Return what another process imports to get this very class; ``wire`` names its module.

    That is the module where it holds the class, and else the program whose import made it. In a
    program of a user's own, which no process of ours imported, it is that program.
    """
    if is_held(cls):
        return wire
    return made_by.get(cls) or (wire if shares else _own_program(wire))


def is_lost(cls: Any) -> bool:
    """Tell whether a class was made after the import of the program: no other process has it."""
    return shares and cls not in made_by and not is_held(cls)


def remember(classes: Iterable[Any]) -> None:
    """Note that the import which is going on made these classes."""
    for cls in classes:
        made_by.setdefault(cls, importing)


def described(cls: Any) -> str:
    """Name a class and its module for people."""
    return f"{wire_name(module_of(cls))}.{cls.__qualname__}"


def _own_program(wire: str) -> str:
    """Return the program that this process runs, if it is a user's; else what was given."""
    names = _globals_of_main()
    path: str | None = names.get("__file__")
    if not path:  # a notebook or a shell, whose tasks run in it
        return MAIN if wire.partition(".")[0] in sys.stdlib_module_names else wire
    import sysconfig  # few programs have such classes

    folders = {os.path.join(sysconfig.get_path(name), "") for name in _INSTALLED}
    return wire if os.path.abspath(path).startswith(tuple(folders)) else wire_name(MAIN)


def _globals_of_main() -> dict[str, Any]:
    """Return the globals of the ``__main__`` that defines a class right now.

    Profilers and debuggers run a script in a namespace that is not ``sys.modules["__main__"]``.
    """
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == MAIN:
            return frame.f_globals
        frame = frame.f_back  # type: ignore[assignment]
    return vars(sys.modules[MAIN])
