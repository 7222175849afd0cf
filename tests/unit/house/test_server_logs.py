"""The lines of both servers: one format, one line each, whatever their fields contain."""

from __future__ import annotations

from pathlib import Path

import pytest

from flow.logs import Log
from tests.support.log_lines import LINE


def test_log_line_is_one_line_whatever_the_fields_contain(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fields = {"a": 1.5, "b": "x y\nerror forged", "c": "", "d": 'k="v"', "level": "é\udc80"}
    Log("info", worker="w 1").say("error", "it broke", **fields)
    Log("info").say("debug", "not said")
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(
        'Z error it broke worker="w 1" a=1.5 b="x y\\nerror forged" c=""'
        r' d="k=\"v\"" level="\xe9\udc80"'
    )
    assert LINE.fullmatch(line)


def test_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    stream = (tmp_path / "log").open("w")
    stream.close()
    Log("info", stream).say("info", "lost")
