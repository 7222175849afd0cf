"""The command line that mixes flow's options with those of a task."""

from __future__ import annotations

import os
from typing import Any

import pytest

import flow
from flow.client.options import RUN, SUBMIT, spell_given, submit_options
from flow.errors import UsageError
from flow.seam import NATIVE
from flow.settings.taskline import TaskLine, duration_s, parse
from flow.wire.messages.client import GIVEN_BYTES_MAX
from flow.wire.messages.shared import readable_params
from flow.wire.names import BARE, TAKEN


def line(*words: str) -> TaskLine:
    return parse(words, SUBMIT)


@pytest.mark.parametrize(
    ("words", "params"),
    [
        (["--date", "2026-01-01"], {"date": "2026-01-01"}),
        (["--date=2026-01-01"], {"date": "2026-01-01"}),
        (["--date="], {"date": ""}),
        (["--text", ""], {"text": ""}),
        (["--some-long-name", "x"], {"some_long_name": "x"}),
        (["--some_long_name", "x"], {"some_long_name": "x"}),
        (["--flag"], {"flag": "true"}),
        (["--flag", "--other", "1"], {"flag": "true", "other": "1"}),
        (["--flag", "-d"], {"flag": "true"}),
        (["--offset", "-5"], {"offset": "-5"}),
        (["--offset", "-.5"], {"offset": "-.5"}),
        (["--query", "a=b --c"], {"query": "a=b --c"}),
        (["--query=a=b"], {"query": "a=b"}),
        (["--x", "1", "--x", "2"], {"x": "2"}),
        (["--T-name", "mine"], {"name": "mine"}),
        (["--Other-name", "theirs"], {"Other_name": "theirs"}),
        (["--", "--name", "mine", "--json"], {"name": "mine", "json": "true"}),
        (["--", "--flag", "--name", "x"], {"flag": "true", "name": "x"}),
    ],
)
def test_parse_parameters_of_the_task(words: list[str], params: dict[str, str]) -> None:
    assert line("m", "T", *words).params == params


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["--name", "x"], {"name": "x"}),
        (["--name=x"], {"name": "x"}),
        (["-d"], {"detach": True}),
        (["--detach", "-q"], {"detach": True, "quiet": True}),
        (["--timeout", "2h"], {"timeout": 7200.0}),
        (["--priority", "-3"], {"priority": -3.0}),
        (["--retry", "2"], {"retry": 2}),
        (["--fail-fast"], {"fail_fast": True}),
        (["--fail-fast", "--keep-going"], {"fail_fast": False}),
        (["--summary", "full"], {"summary": "full"}),
        (["--wait-for-external", "4h"], {"wait_for_external": 14400.0}),
    ],
)
@pytest.mark.parametrize("place", ["before", "between", "after"])
def test_parse_own_options_anywhere(words: list[str], options: dict[str, Any], place: str) -> None:
    task = ["m", "T", "--p", "1"]
    at = {"before": 0, "between": 2, "after": 4}[place]
    found = line(*task[:at], *words, *task[at:])
    assert found._replace(taken=()) == TaskLine("m", "T", {"p": "1"}, options, False)
    long = [word for word in words if word.startswith("--")]
    assert len(found.taken) == (0 if place == "before" else len(long))


@pytest.mark.parametrize(
    ("words", "piece"),
    [
        (["m", "T", "stray"], "unexpected word 'stray'"),
        (["m", "T", "--timeout", "soon"], "--timeout: 'soon' is not a duration"),
        (["m", "T", "--timeout"], "--timeout needs a value"),
        (["m", "T", "--retry", "0"], "--retry: '0' must be at least 1"),
        (["m", "T", "--retry", "x"], "--retry: 'x' is not a number"),
        (["m", "T", "--priority", "high"], "--priority: 'high' is not a number"),
        (["m", "T", "--summary", "long"], "must be one of none, short, full"),
        (["m", "T", "--json=yes"], "--json takes no value"),
        (["m", "T", "-z"], "no such option: -z"),
        (["m", "T", "--=3"], "no such option: --=3"),
        (["m", "T", "--name", "\udcff"], "is not valid UTF-8"),
    ],
)
def test_parse_wrong_usage_names_the_word(words: list[str], piece: str) -> None:
    with pytest.raises(UsageError) as raised:
        line(*words)
    assert piece in str(raised.value)


def test_parse_module_as_path_becomes_an_absolute_file() -> None:
    found = parse(["jobs/pipeline.py", "T"], RUN)
    assert found.module == f"file:{os.getcwd()}/jobs/pipeline.py"


def test_parse_help_is_asked_not_given_to_the_task() -> None:
    assert line("m", "T", "--help").help
    assert line("m", "T", "--", "--help").params == {"help": "true"}


def test_parse_task_alone_for_scripts() -> None:
    found = parse(["T", "--n", "3"], RUN, named=1)
    assert (found.module, found.family, found.params) == ("", "T", {"n": "3"})


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("90s", 90), ("30m", 1800), ("2h", 7200), ("1d12h", 129600)],
)
def test_duration_reads_units(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "h2", "2 h", "-1", "1e3"])
def test_duration_refuses_other_text(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        duration_s(text)


def test_parse_value_for_a_family_is_kept_for_all_its_tasks() -> None:
    found = line("m", "ns.T", "--ns.T-a", "1", "--a", "2", "--ns-T-b", "3", "--Other-c", "4")
    assert found.params == {"a": "2", "b": "3", "Other_c": "4"}
    assert found.qualified == {"ns.T_a": "1", "ns_T_b": "3", "Other_c": "4"}
    assert line("m", "T", "--a", "2", "--T-a", "1").params == {"a": "2"}


def test_given_values_are_spelled_alike_in_any_order() -> None:
    assert spell_given({}) == b""
    one, other = {"A_x": "1", "B_y": "2"}, {"B_y": "2", "A_x": "1"}
    assert spell_given(one) == spell_given(other)
    assert readable_params(spell_given(one)) == one


def test_given_values_that_do_not_fit_are_for_the_root_alone() -> None:
    found = line("m", "T", "--long_list", "x" * 100_000, "--Other-n", "1")
    assert len(found.params["long_list"]) == 100_000
    assert readable_params(spell_given(found.qualified)) == {"Other_n": "1"}
    many = {f"Other_{n}": "ä" * 50 for n in range(10_000)}
    packed = spell_given(many)
    assert 0.9 * GIVEN_BYTES_MAX < len(packed) <= GIVEN_BYTES_MAX
    assert readable_params(packed).items() <= many.items()


def test_given_value_that_is_no_text_is_for_the_root_alone() -> None:
    assert readable_params(spell_given({"A_x": "\udcff", "A_y": "1"})) == {"A_y": "1"}


def test_submit_carries_what_is_given_to_other_tasks() -> None:
    found = line("m", "T", "--n", "1", "--Other-n", "2")
    options = submit_options(found.options, found.qualified)
    assert readable_params(options.given) == {"Other_n": "2"}


def test_names_of_options_behind_the_task_and_bare_parameters_are_told() -> None:
    found = line("--detach", "m", "T", "--name", "x", "--json", "-q", "--flag", "--y", "1")
    assert (found.taken, found.bare) == (("name", "json"), ("flag",))
    assert found.root == {"flag": "true", "y": "1", TAKEN: "name json", BARE: "flag"}
    meant = line("m", "T", "--name", "x", "--T-name", "mine", "--flag", "--flag", "2")
    assert (meant.taken, meant.bare) == ((), ())
    assert line("--name", "x", "m", "T").root == {}


def test_parameters_called_like_options_are_not_swallowed_by_these() -> None:
    class Publish(flow.Task):
        name = flow.Parameter(default="n")
        loud = flow.BoolParameter()
        dry = flow.OptionalBoolParameter(default=None)

    def make(*words: str) -> Any:
        named = parse(["m", "Publish", *words], RUN).root
        NATIVE.check_names(Publish, named)
        return NATIVE.make(Publish, named)

    with pytest.raises(UsageError, match="--name: options of the command") as caught:
        make("--name", "x", "--workers", "2")
    assert "--Publish-name VALUE" in str(caught.value.hint)
    assert make("--Publish-name", "x", "--workers", "2").name == "x"
    assert make("--loud", "--dry").loud and make("--loud", "--dry").dry
    with pytest.raises(UsageError, match="--name needs a value: --name VALUE"):
        make("--Publish-name")
