"""Closed lists of the core: each kind has a handler, and it is said which word counts."""

from __future__ import annotations

import typing

import msgspec
import pytest

from flow.errors import ExitCode
from flow.wire.messages import client
from flow_coordinator.core import graph, machine, outcomes
from flow_coordinator.core.doom import REPLACES, Doom
from flow_coordinator.core.effects import Send, SendNow
from flow_coordinator.core.events import Received, StoreStalled
from flow_coordinator.core.queries import answers
from flow_coordinator.core.records import TaskRecord
from flow_coordinator.core.timers import Timer
from flow_coordinator.shell.rows import ExtraBlob, read_extra
from tests.support import house_rules
from tests.support.core_env import Env, Graph


def test_every_timer_has_a_handler() -> None:
    assert set(machine._TIMER_HANDLERS) == set(Timer)
    assert set(Timer) >= machine._OF_SILENCE


def test_every_doom_has_a_handler_and_a_place_in_the_order() -> None:
    assert set(outcomes._DOOM_HANDLERS) == set(REPLACES) == set(Doom)


@pytest.mark.parametrize("doom", Doom, ids=lambda doom: doom.name)
def test_doom_is_stored_as_its_text(doom: Doom) -> None:
    blob = msgspec.msgpack.encode(ExtraBlob(doom=(doom, "why")))
    assert msgspec.msgpack.decode(blob)[5] == [doom.value, "why"]
    assert read_extra(blob).doom == (doom, "why")


def granted() -> tuple[Env, TaskRecord]:
    env = Env()
    env.graph = Graph({"a": []})
    env.worker()
    env.submit("a")
    return env, env.core.state.tasks["default"]["T_a"]


@pytest.mark.by_hand
@pytest.mark.parametrize("first", Doom, ids=lambda doom: doom.name)
@pytest.mark.parametrize("later", Doom, ids=lambda doom: doom.name)
def test_later_doom_counts_only_where_it_replaces_the_first(first: Doom, later: Doom) -> None:
    env, task = granted()
    graph.doom(env.core.state, task, first, "first")
    graph.doom(env.core.state, task, later, "later")
    assert task.extra is not None and task.extra.doom is not None
    wins = later is Doom.CANCEL or (first, later) == (Doom.CANCEL, Doom.AGAIN)
    assert task.extra.doom == ((later, "later") if wins else (first, "first"))


@pytest.mark.unread("Dispatch")
@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (client.SendLetter(1, "ab.1.1", "id", "hello"), ExitCode.NOT_RUN),
        (client.FindAttempt(1, "T_z"), ExitCode.USAGE),
        (client.ShowGraph(1, "last", by="rows"), ExitCode.USAGE),
        (client.Upload(1, "no hash", 5), ExitCode.REFUSED),
        (client.Cancel(1, "T_z"), ExitCode.USAGE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, msgspec.Struct) else value.name,
)
def test_refusal_is_said_once_and_at_once_on_a_full_disk(
    request_: client.Request, code: ExitCode
) -> None:
    env, _ = granted()
    env.core.handle(StoreStalled("full"), env.now)
    effects = env.core.handle(Received(b"somebody", request_), env.now)
    said = [each for each in effects if isinstance(each, Send | SendNow)]
    assert [type(each.message) for each in said] == [client.Held, client.Failed]
    assert isinstance(said[1], SendNow) and isinstance(said[1].message, client.Failed)
    assert said[1].message.code == code


def test_every_request_has_a_handler() -> None:
    assert set(answers._HANDLERS) == set(typing.get_args(client.Request))


def test_queries_are_entered_by_the_machine_alone() -> None:
    inside = "flow_coordinator.core.queries"
    importers = {
        source.module
        for source in house_rules.read_all("coordinator")
        for name, _ in house_rules.imports(source, top_only=False)
        if house_rules.within(name, inside) and not house_rules.within(source.module, inside)
    }
    assert importers == {"flow_coordinator.core.machine"}
