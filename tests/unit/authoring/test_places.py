"""Classes that module and family do not name: where other processes find them, if anywhere."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from flow import seam
from flow.modules import places
from flow.modules.loading import OtherClass, families_of, home_of, load_module, load_task_class

Write = Callable[[str, str], None]
LIBRARIES = ("flow", "luigi")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write a module; what was loaded from there is forgotten."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def write(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - before:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take this process for one whose tasks run in others."""
    monkeypatch.setattr(places, "shares", True)


FACTORY = """
    import {0} as lib
    def typed(name):
        return type(name, (lib.Task,), {{"of": name}})
    def closed(name, base=lib.Task):
        class Closed(base):
            of = name
        return Closed
"""
PROGRAM = """
    import {0} as lib
    from {1} import closed, typed
    ALL = {{"typed": typed("Typed_{2}"), "closed": closed("x")}}
    class Named(lib.Task):
        pass
"""


def program(place: Write, library: str, name: str, more: str = "") -> ModuleType:
    place(f"{name}_maker", FACTORY.format(library))
    place(name, PROGRAM.format(library, f"{name}_maker", name) + more)
    return load_module(name)


@pytest.mark.parametrize("library", LIBRARIES)
def test_class_made_at_import_is_at_home_in_the_program(
    library: str, place: Write, shared: None
) -> None:
    name = f"at_import_{library}"
    module = program(place, library, name)
    for cls in module.ALL.values():
        assert home_of(cls()) == seam.module_of(cls()) == name
        assert load_task_class(name, cls.get_task_family()) is cls
    assert home_of(module.Named()) == name
    assert {f"Typed_{name}", "Closed", "Named"} == set(families_of(name))


@pytest.mark.parametrize("library", LIBRARIES)
def test_class_of_an_imported_module_stays_at_home_there(
    library: str, place: Write, shared: None
) -> None:
    name = f"held_{library}"
    place(f"{name}_other", f"import {library} as lib\nclass There(lib.Task):\n    pass\n")
    module = program(place, library, name, f"    import {name}_other\n")
    assert home_of(getattr(module, f"{name}_other").There()) == f"{name}_other"


@pytest.mark.parametrize("library", LIBRARIES)
def test_another_process_finds_the_class_at_its_home(
    library: str, place: Write, tmp_path: Path
) -> None:
    name = f"elsewhere_{library}"
    program(place, library, name)
    code = "from flow.modules.loading import load_task_class as find\n"
    code += f"print(find({name!r}, 'Typed_{name}').of, find({name!r}, 'Closed').of)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [f"Typed_{name}", "x"]


@pytest.mark.parametrize("how", ["typed", "closed"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_class_made_after_the_import_is_refused_with_what_to_do(
    library: str, how: str, place: Write, shared: None
) -> None:
    name = f"late_{how}_{library}"
    module = program(place, library, name)
    late = getattr(module, how)("Late")
    with pytest.raises(OtherClass) as caught:
        home_of(late())
    assert f"its class {places.described(late)} was made after the import" in str(caught.value)
    assert "define it at module level" in str(caught.value)


@pytest.mark.parametrize("library", LIBRARIES)
def test_class_made_after_the_import_is_not_taken_for_the_programs(
    library: str, place: Write, shared: None
) -> None:
    module = program(place, library, f"taken_{library}")
    late = module.closed("y")
    assert load_task_class(f"taken_{library}", "Closed") is module.ALL["closed"]
    with pytest.raises(OtherClass, match="Closed was made after"):
        home_of(late())
    assert home_of(module.ALL["closed"]()) == f"taken_{library}"


def test_class_made_later_in_a_program_of_the_users_own_is_where_it_was(place: Write) -> None:
    module = program(place, "flow", "own_program")
    assert home_of(module.typed("Later")()) == "own_program_maker"


TWICE = """
    import {0} as lib
    class Twice(lib.Task):
        pass
    Old = Twice
    class Twice(lib.Task):
        pass
"""


@pytest.mark.parametrize("library", LIBRARIES)
def test_of_a_class_defined_twice_the_newest_counts(
    library: str, place: Write, shared: None
) -> None:
    name = f"twice_{library}"
    place(name, TWICE.format(library))
    module = load_module(name)
    assert load_task_class(name, "Twice") is module.Twice
    assert home_of(module.Twice()) == name
    with pytest.raises(OtherClass, match=rf"{name}\.Twice, but .* a later class {name}\.Twice"):
        home_of(module.Old())


@pytest.mark.parametrize("library", LIBRARIES)
def test_classes_that_only_their_making_tells_apart_are_named_both(
    library: str, place: Write, shared: None
) -> None:
    name = f"apart_{library}"
    module = program(place, library, name, '    SECOND = closed("y")\n')
    both = rf"{name}_maker\.closed\.<locals>\.Closed, {name}_maker\.closed\.<locals>\.Closed"
    with pytest.raises(OtherClass, match=both):
        home_of(module.SECOND())


@pytest.mark.parametrize("library", LIBRARIES)
def test_class_whose_name_means_its_subclass_is_refused(
    library: str, place: Write, shared: None
) -> None:
    name = f"hidden_{library}"
    text = "    class Holder:\n        class Inner(lib.Task):\n            pass\n"
    module = program(place, library, name, text + "    class Inner(Holder.Inner):\n        pass\n")
    assert home_of(module.Inner()) == name
    with pytest.raises(OtherClass, match=rf"{name}\.Holder\.Inner, but .* find {name}\.Inner"):
        home_of(module.Holder.Inner())


def test_parameter_names_the_newest_of_classes_defined_twice(place: Write) -> None:
    text = "    class Holder(lib.Task):\n        of = lib.TaskParameter()\n"
    place("named_twice", TWICE.format("luigi") + text)
    from flow.modules.loading import load_task

    task = load_task("named_twice", "Holder", {"of": "Twice"})
    assert task.of is sys.modules["named_twice"].Twice
