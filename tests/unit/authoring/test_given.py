"""What a command line gives to tasks, in a process that works for several runs in turn."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import flow
from flow.modules.loading import load_module
from flow.parameters import defaults, given
from flow.parameters.packing import pack_checked
from flow.seam import others


@pytest.fixture(autouse=True)
def nothing() -> Iterator[None]:
    yield
    given.use(b"")


def packed(**values: str) -> bytes:
    return pack_checked(values, "")


class GivenTo(flow.Task):
    n = flow.IntParameter(default=0)


def test_given_values_are_defaults_until_others_hold() -> None:
    given.use(packed(GivenTo_n="3"))
    assert GivenTo().n == 3 and GivenTo(n=1).n == 1
    given.use(packed(GivenTo_n="4"))
    assert GivenTo().n == 4
    given.use(b"")
    assert GivenTo().n == 0


def test_given_values_that_change_leave_no_instance_behind() -> None:
    task = GivenTo(n=5)
    assert GivenTo(n=5) is task
    given.use(packed(GivenTo_n="3"))
    again = GivenTo(n=5)
    assert again is not task
    given.use(packed(GivenTo_n="3"))
    assert GivenTo(n=5) is again


def test_given_values_hold_again_after_a_block_that_raised_and_used_others() -> None:
    given.use(packed(GivenTo_n="3"))

    def block() -> None:
        with given.using(packed(GivenTo_n="4")):
            given.use(packed(GivenTo_n="5"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        block()
    assert GivenTo().n == 3


def test_given_values_are_not_for_what_a_module_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    text = f"from {__name__} import GivenTo\nKEPT = GivenTo().n\n"
    (tmp_path / "keeps_given.py").write_text(text)
    (tmp_path / "script.py").write_text(text)
    given.use(packed(GivenTo_n="3"))
    assert load_module("keeps_given").KEPT == 0
    assert load_module(f"file:{tmp_path}/script.py").KEPT == 0
    assert GivenTo().n == 3
    del sys.modules["keeps_given"]


def test_settings_that_are_forgotten_leave_given_values() -> None:
    given.use(packed(GivenTo_n="3"))
    defaults.forget()
    assert GivenTo().n == 3


def test_luigis_configuration_is_as_before_when_other_values_hold() -> None:
    luigi = pytest.importorskip("luigi")
    config = luigi.configuration.get_config()

    class GivenLuigi(luigi.Task):  # type: ignore[misc,name-defined]
        n = luigi.IntParameter(default=0)
        text = luigi.Parameter(default="own")

    def seen() -> tuple[int, str]:
        task = GivenLuigi()
        return task.n, task.text

    assert others()
    try:
        given.use(packed(GivenLuigi_n="3", GivenLuigi_text="50%"))
        assert seen() == (3, "50%")
        given.use(packed(GivenLuigi_n="4"))
        assert seen() == (4, "own")
        given.use(b"")
        assert seen() == (0, "own") and not config.has_section("GivenLuigi")
        config.set("GivenLuigi", "text", "configured")
        given.use(packed(GivenLuigi_n="3", GivenLuigi_text="said"))
        assert seen() == (3, "said")
        given.use(packed(GivenLuigi_n="5"))
        assert seen() == (5, "configured")
        given.use(b"")
        assert seen() == (0, "configured")
        assert config.options("GivenLuigi") == ["text"]
    finally:
        given.use(b"")
        config.remove_section("GivenLuigi")
        luigi.task_register.Register._reg.remove(GivenLuigi)
