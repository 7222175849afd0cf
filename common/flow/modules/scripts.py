"""Scripts as modules: one importable name everywhere, and ``__main__`` in task processes.

``/srv/report.py`` is the module ``report`` wherever flow loads it: children that multiprocessing
starts afresh import it by that name, since its folder is first on ``sys.path``, and what a task
pickles names it. Where that cannot be (``name_of``) it gets a private name, which only the process
itself and its forks know: functions of such a script do not reach children that are started by
``spawn`` or ``forkserver``, and ``python SCRIPT`` reads what its tasks pickled, but nobody else.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Final

from flow.modules import places
from flow.modules.places import MAIN

#: Children of multiprocessing are told to run what is below it, see there.
_AS_MAIN: Final = "flow.as_main."
_PRIVATE_PREFIX: Final = "_flow_script_"
_HASH_CHARS: Final = 12
#: How multiprocessing calls ``__main__`` in its children, and knows it in other processes.
_MP_MAIN: Final = "__mp_main__"

#: Path of a script -> its name in ``sys.modules``.
_names: dict[str, str] = {}
#: Whether the first script that is loaded becomes ``__main__``.
_wanted_as_main = False
#: Whether ``__main__`` is the program that the tasks are of, whatever is loaded besides.
_keeps_main = False


def take_for_main() -> None:
    """Make the first script that is loaded from here on this process's ``__main__``.

    For task processes: nobody else's ``__main__`` may be replaced.
    """
    global _wanted_as_main
    _wanted_as_main = not _keeps_main


def keep_main() -> None:
    """Leave ``__main__`` as it is: this process is a fork of a program, and that is its main."""
    global _keeps_main, _wanted_as_main
    _keeps_main, _wanted_as_main = True, False


def name_of(path: str) -> str:
    """Return the name in ``sys.modules`` of a script: its stem, if whoever imports that gets it.

    It gets a private one if the stem has dots, is taken by another module here or by the standard
    library, or means something else in the script's own folder, as a package of that name does.
    """
    folder, file = os.path.split(path)
    stem = os.path.splitext(file)[0]
    if "." in stem or stem in sys.stdlib_module_names or stem in sys.modules:
        return private_name(path)
    try:
        found = PathFinder.find_spec(stem, [folder])
    except (ImportError, ValueError):  # nothing can be imported from there
        found = None
    return stem if found is not None and found.origin == path else private_name(path)


def private_name(path: str) -> str:
    """Return what a script is called that cannot have its own name."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{_PRIVATE_PREFIX}{digest[:_HASH_CHARS]}"


def loaded(path: str) -> ModuleType | None:
    """Return the module of a script, if this process loaded it, as a script or by its stem."""
    known = sys.modules.get(_names.get(path, ""))
    if known is not None:
        return known
    beside = sys.modules.get(os.path.splitext(os.path.basename(path))[0])
    return beside if beside is not None and getattr(beside, "__file__", None) == path else None


def run(path: str) -> ModuleType:
    """Load a script; its ``if __name__ == "__main__"`` part does not run.

    Raises whatever it raises, and is forgotten then.
    """
    importlib.invalidate_caches()  # it may be younger than what is known of its folder
    name = name_of(path)
    loader = SourceFileLoader(name, path)
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None  # only without a loader it may be
    module = importlib.util.module_from_spec(spec)
    _names[path], places.script_names[name] = name, places.script_name(path)
    sys.modules[name] = module
    if sys.path[:1] != [os.path.dirname(path)]:
        # As for any script: what lies beside it can be imported.
        sys.path.insert(0, os.path.dirname(path))
    before = sys.modules[MAIN], sys.modules.get(_MP_MAIN), list(sys.argv)
    if _is_main_due():
        sys.modules[MAIN] = sys.modules[_MP_MAIN] = module
        sys.argv[:] = [path]
        # multiprocessing has its children run the module that this names; else the file.
        private = name.startswith(_PRIVATE_PREFIX)
        module.__spec__ = None if private else ModuleSpec(_AS_MAIN + name, loader, origin=path)
    try:
        loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        del _names[path], places.script_names[name]
        if sys.modules[MAIN] is module:
            _put_back(*before)
        raise
    return module


def alias_main() -> None:
    """Let the script that this very process runs be known by the name that its tasks pickle.

    Called late, where the script asks for its run or for what a task wrote: whoever imported it by
    that name until then has got a copy, as always, and keeps it. Nothing is loaded.
    """
    main = sys.modules[MAIN]
    path = getattr(main, "__file__", None)
    if not path or getattr(main, "__spec__", None) is not None or not os.path.isfile(path):
        return  # a notebook, a shell, or python -m
    path = os.path.abspath(path)
    if path not in _names:
        _names[path] = name_of(path)
        sys.modules.setdefault(_names[path], main)


def _is_main_due() -> bool:
    return _wanted_as_main and sys.modules[MAIN].__name__ not in places.script_names


def _put_back(main: ModuleType, mp_main: ModuleType | None, argv: list[str]) -> None:
    sys.modules[MAIN] = main
    if mp_main is None:
        del sys.modules[_MP_MAIN]
    else:
        sys.modules[_MP_MAIN] = mp_main
    sys.argv[:] = argv
