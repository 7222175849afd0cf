"""What is said of exceptions: bounded, on one line, the user's place, whatever they contain."""

import json
import sys
import textwrap
from pathlib import Path

import pytest

import flow
from flow.modules import blame
from flow.modules.blame import bounded_trace, describe, own_frame


def raised(function):
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


class Hostile(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Numeric(Exception):
    def __str__(self):
        return 5  # not a string


class Recursive(Exception):
    def __str__(self):
        return str(self)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("bad"), "ValueError: bad"),
        (ValueError(), "ValueError"),
        (ValueError("two\r\n\n  lines\t"), "ValueError: two lines"),
        (KeyError("x"), "KeyError: 'x'"),
        (Hostile(), "Hostile: (its text cannot be built: RuntimeError)"),
        (Numeric(), "Numeric: (its text cannot be built: TypeError)"),
        (Recursive(), "Recursive: (its text cannot be built: RecursionError)"),
    ],
)
def test_description_is_one_line(error, text):
    assert describe(error) == text


def test_description_of_a_huge_text_is_bounded():
    assert len(describe(ValueError("x" * 10_000_000))) == blame.LINE_CHARS_MAX


def test_own_frame_is_the_innermost_of_the_user_not_of_the_library():
    error = raised(lambda: json.loads("{"))
    path, _, called = own_frame(error).rpartition("  ")
    assert path.startswith(f"{__file__}:")
    assert called == "<lambda>"


def test_own_frame_skips_flow_and_falls_back_to_it():
    from flow.structure import getpaths

    assert own_frame(raised(lambda: getpaths(5))).startswith(__file__)
    inner = raised(lambda: getpaths(5))
    inner.__traceback__ = inner.__traceback__.tb_next.tb_next
    assert "structure.py" in own_frame(inner)


def test_own_frame_of_installed_code_counts_if_it_is_named(tmp_path):
    place = tmp_path / "site-packages" / "theirs.py"
    names = {"__name__": "theirs.deep"}
    exec(compile("def fail():\n    raise ValueError", str(place), "exec"), names)
    error = raised(lambda: names["fail"]())
    assert own_frame(error).startswith(__file__)
    assert own_frame(error, "theirs") == f"{place}:2  fail()"


def test_own_frame_of_an_example_is_a_users():
    from flow.examples.imports import units_of

    assert "imports.py" in own_frame(raised(lambda: units_of("/no/such/directory")))


def test_own_frame_of_a_syntax_error_is_the_file_that_has_it(tmp_path):
    error = raised(lambda: compile("x =\n", str(tmp_path / "f.py"), "exec"))
    assert own_frame(error).startswith(f"{tmp_path}/f.py:1")


def test_own_frame_without_traceback_is_empty():
    assert own_frame(ValueError()) == ""


def test_trace_is_bounded_and_keeps_both_ends():
    trace = bounded_trace(raised(lambda: (_ for _ in ()).throw(ValueError("y" * 10_000_000))))
    assert len(trace) < blame.TRACE_CHARS_MAX + 100
    assert trace.startswith("Traceback")
    assert "characters left out" in trace


def test_trace_of_deep_recursion_is_bounded():
    def dive(depth):
        return dive(depth + 1)

    trace = bounded_trace(raised(lambda: dive(0)))
    assert len(trace) < blame.TRACE_CHARS_MAX + 100
    assert "RecursionError" in trace


@pytest.mark.parametrize("error", [Hostile(), Numeric(), Recursive()])
def test_trace_of_a_hostile_exception_is_some_text(error):
    def fail():
        raise error

    assert type(error).__name__ in bounded_trace(raised(fail))


def test_trace_leaves_out_flows_own_frames_at_the_top():
    names = {"__name__": "flow_worker.process.runner"}
    exec(compile("def call(f):\n    return f()", "runner.py", "exec"), names)

    def users():
        raise ValueError("mine")

    try:
        names["call"](users)
    except ValueError as caught:
        # The frame of this test lies above it; a runner has none of a user there.
        error = caught.with_traceback(caught.__traceback__.tb_next)
    trace = bounded_trace(error)
    assert "users" in trace
    assert "runner.py" not in trace


def test_trace_shows_the_cause():
    def fail():
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error

    trace = bounded_trace(raised(fail))
    assert "KeyError: 'inner'" in trace
    assert "direct cause" in trace


def test_cut_middle_says_how_much_is_missing():
    text = blame.cut_middle("a" * 50 + "b" * 50, 30)
    assert textwrap.dedent(text).splitlines() == [
        "a" * 10, "... 70 characters left out ...", "b" * 20,
    ]  # fmt: skip
    assert sys.getsizeof(text) < 200


def test_what_an_exception_came_of_is_told_with_its_place(tmp_path):
    source = (
        "def look():\n"
        "    return {}['key']\n"
        "def explicit():\n"
        "    try:\n"
        "        look()\n"
        "    except KeyError as error:\n"
        "        raise RuntimeError('no table') from error\n"
        "def implicit():\n"
        "    try:\n"
        "        look()\n"
        "    except KeyError:\n"
        "        raise RuntimeError('no table')\n"
        "def hidden():\n"
        "    try:\n"
        "        look()\n"
        "    except KeyError:\n"
        "        raise RuntimeError('no table') from None\n"
    )
    space: dict = {}
    exec(compile(source, str(tmp_path / "chain.py"), "exec"), space)
    found = {}
    for name in ("explicit", "implicit", "hidden"):
        with pytest.raises(RuntimeError) as caught:
            space[name]()
        found[name] = blame.causes(caught.value)
    place = f"KeyError: 'key'     {tmp_path}/chain.py:2  look()"
    assert found["explicit"] == [f"caused by {place}"]
    assert found["implicit"] == [f"while handling {place}"]
    assert found["hidden"] == []


def test_chain_of_causes_is_bounded_and_may_be_a_circle():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert blame.causes(first) == ["caused by ValueError: b"]
    error = ValueError("0")
    for n in range(1, 50):
        below, error = error, ValueError(str(n))
        error.__cause__ = below
    assert len(blame.causes(error)) == blame.CAUSES_MAX


class Declares:
    plain = 1
    annotated: int = 2

    def method(self):
        pass

    @property
    def shown(self):
        return 1

    @classmethod
    def made(cls):
        pass


class Inherits(Declares):
    pass


def line_of(text: str) -> int:
    lines = Path(__file__).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.startswith(text))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("plain", "    plain = 1"),
        ("annotated", "    annotated: int"),
        ("method", "    def method"),
        ("shown", "    @property"),
        ("made", "    @classmethod"),
    ],
)
def test_declared_is_the_line_of_the_class_that_says_it(name, line):
    assert blame.declared(Inherits, name) == f"{__file__}:{line_of(line)}  Declares.{name}"


def test_declared_knows_nothing_of_what_a_library_says_or_nobody():
    made = type("Made", (flow.Task,), {"x": 1})
    assert blame.declared(flow.Task, "complete") == ""
    assert blame.declared(Inherits, "nothing") == ""
    assert blame.declared(made, "x") == ""
