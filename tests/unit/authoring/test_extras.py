"""A package that is not installed is named with the command that installs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flow.errors import ConfigError, ExitCode
from flow.extras import MissingExtra, need


def test_need_a_package_that_is_there_returns_its_module() -> None:
    assert need("json.decoder", "sql", "this test").JSONDecoder


def test_need_a_missing_package_names_the_exact_command() -> None:
    with pytest.raises(MissingExtra, match=r"pip install 'flow-workflows\[sql\]'") as caught:
        need("no_such_package.part", "sql", "SQLTarget")
    assert "SQLTarget needs no_such_package, which" in str(caught.value)
    assert caught.value.exit_code == ExitCode.CONFIG
    assert isinstance(caught.value, ConfigError)
    assert isinstance(caught.value, ImportError)


def test_need_a_package_that_lacks_another_tells_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed.py").write_text("import what_it_lacks\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError) as caught:
        need("half_installed", "sql", "SQLTarget")
    assert caught.value.name == "what_it_lacks"
    assert "half_installed" not in sys.modules
