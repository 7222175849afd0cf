"""Task ids are Luigi's, byte for byte; what counts for them and what does not."""

import hashlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flow
from flow.errors import UsageError
from flow.identity import task_id_str
from flow.parameters import BadParameter, ParameterVisibility
from flow.parameters.packing import packed_params, unpack_values


def spelled_by_definition(family: str, params: dict[str, str]) -> str:
    """The format as its documentation says it, with the standard library's JSON."""
    body = json.dumps(params, separators=(",", ":"), sort_keys=True)
    digest = hashlib.md5(body.encode()).hexdigest()[:10]
    summary = "_".join(params[name][:16] for name in sorted(params)[:3])
    return f"{family}_{re.sub('[^A-Za-z0-9_]', '_', summary)}_{digest}"


class Everything(flow.Task):
    zulu = flow.StrParameter(default="z")
    alpha = flow.IntParameter(default=1)
    quiet = flow.IntParameter(default=0, significant=False)
    hidden = flow.IntParameter(default=0, visibility=ParameterVisibility.HIDDEN)
    secret = flow.StrParameter(default="s3cret", visibility=ParameterVisibility.PRIVATE)


def test_task_id_of_published_examples_is_luigis():
    assert task_id_str("Empty", {}) == "Empty__99914b932b"
    assert task_id_str("my_namespace.MyTask", {"my_param": "hello"}) == (
        "my_namespace.MyTask_hello_890907e7ce"
    )


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_task_id_of_any_text_follows_the_definition(params):
    # Lone surrogates included: JSON escapes them.
    assert task_id_str("F", params) == spelled_by_definition("F", params)


def test_task_id_of_task_takes_significant_public_parameters_sorted_by_name():
    task = Everything(zulu="last, by name!", alpha=7)
    assert task.task_id == spelled_by_definition(
        "Everything", {"alpha": "7", "zulu": "last, by name!"}
    )


def test_tasks_that_differ_in_what_does_not_count_are_equal_but_two_objects():
    one, other = Everything(quiet=1, hidden=1, secret="a"), Everything()
    assert one is not other
    assert one == other
    assert hash(one) == hash(other)
    assert len({one, other}) == 1


def test_tasks_of_two_classes_with_one_id_are_not_equal():
    def define():
        class Twin(flow.Task):
            _visible_in_registry = False

        return Twin()

    one, other = define(), define()
    assert one.task_id == other.task_id
    assert one != other


def test_repr_shows_significant_parameters_in_declaration_order():
    assert repr(Everything(quiet=5)) == "Everything(zulu=z, alpha=1, hidden=0, secret=s3cret)"


def test_str_params_never_hold_private_ones():
    task = Everything()
    assert list(task.to_str_params()) == ["zulu", "alpha", "quiet", "hidden"]
    assert "quiet" not in task.to_str_params(only_significant=True)
    assert "hidden" not in task.to_str_params(only_public=True)


def test_packed_params_are_the_str_params_in_declaration_order():
    task = Everything(zulu="\N{SNOWMAN}\n\0")
    named = unpack_values(packed_params(task))
    assert list(named.items()) == list(task.to_str_params().items())
    assert packed_params(task) is packed_params(task)


def test_packed_params_of_text_that_is_not_unicode_name_the_parameter():
    with pytest.raises(BadParameter, match=r"Everything --zulu: .*not valid Unicode"):
        packed_params(Everything(zulu="\udcff"))


def test_unpacking_something_else_is_an_error_of_the_user():
    with pytest.raises(UsageError, match="not a map of text to text"):
        unpack_values(b"\x93\x01\x02\x03")


def test_task_from_its_own_strings_is_the_same_object():
    task = Everything(zulu="x", quiet=3, hidden=4)
    assert Everything.from_str_params(task.to_str_params()) is task
