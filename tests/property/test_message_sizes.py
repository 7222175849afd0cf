"""Whatever is as large as it may be: every message of the coordinator can be sent and received.

The codec refuses what is over the limit of the sockets, so a test that goes on has seen it fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flow.wire.messages import client, codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Outcome, PlanChunk, PlanError, Policy, Spec, SpecStatus, Stub
from flow.wire.params import pack_params
from flow_coordinator.core import bounds
from flow_coordinator.core.config import CoreConfig
from tests.property.profiles import short
from tests.support.core_env import Env

#: The largest that the other side lets through (``walk.PARAMS_BYTES_MAX``, ``REPORT_TEXT_MAX``).
PARAMS_BYTES = 250_000
TEXT_CHARS = 60_000
NAME_CHARS = 1_000
TASKS_MAX = 12


@dataclass(frozen=True)
class Size:
    """How large each thing is, and what happens."""

    params: int
    text: int
    name: int
    letter: str
    tasks: int
    resources: int
    slots: int
    yields: bool
    unplannable: bool


sizes = st.builds(
    Size,
    params=st.sampled_from([2, PARAMS_BYTES]),
    text=st.sampled_from([1, TEXT_CHARS]),
    name=st.sampled_from([1, NAME_CHARS]),
    letter=st.sampled_from(["x", "ü", "\x1b"]),
    tasks=st.integers(1, TASKS_MAX),
    resources=st.sampled_from([0, 300]),
    slots=st.sampled_from([1, TASKS_MAX]),
    yields=st.booleans(),
    unplannable=st.booleans(),
)


class World:
    """One run in which everything has the drawn size."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.name = size.letter * size.name
        self.text = size.letter * size.text
        limits = {f"r{n}{self.name}": 1.0 for n in range(size.resources)}
        self.env = Env(CoreConfig(limits=limits, retry_count=1))
        self.env.plan_by_hand = True
        self.worker = self.env.worker("w" + self.name, slots=size.slots)

    def stub(self, number: int) -> Stub:
        """A task whose parameters are long."""
        value = self.size.letter * (self.size.params // len(self.size.letter.encode()))
        family = f"F{number}{self.name}"
        return Stub(f"{family}_{number}", "mod", family, pack_params({"name": value}))

    def submit(self) -> None:
        """A root and what it needs, some of it not to be planned."""
        root = client.RootTask("mod", f"Top{self.name}", {"sql": self.name})
        self.env.say(
            b"client", client.Submit(1, "k", "default", [root], client.SubmitOptions(name="n"))
        )
        (plan,) = self.env.heard(self.worker.peer, wire.Plan)
        top = Stub(f"Top{self.name}_1", "mod", f"Top{self.name}", pack_params({"sql": self.name}))
        below = [self.stub(n) for n in range(self.size.tasks)]
        for at, one in enumerate(below):  # a long one fills a chunk
            last = at == len(below) - 1
            chunk = PlanChunk(
                [one] if at else [top, one],
                [(0, [*range(1, len(below) + 1)])] if last else [],
                [] if at else [Policy()],
                printed=self.text[:4_000],
            )
            if self.size.unplannable and at % 2:
                ends = (self.text, self.text, self.text[:9_000])
                chunk.errors.append(PlanError(at + 1, "requires", *ends))
            else:
                chunk.specs.append(Spec(at + 1, SpecStatus.INCOMPLETE, 0))
            if last:
                chunk.specs.append(Spec(0, SpecStatus.INCOMPLETE, 0))
            body = codec.encode_chunk(chunk)
            self.worker.say(wire.Planned(self.worker.session, plan.request, at, last, body))

    def work(self) -> None:
        """Run all that may run: the first yields long tasks, the rest fails with long texts."""
        for turn in range(TASKS_MAX + 2):
            grants = self.worker.take()
            if not grants:
                return
            self.worker.start(*grants)
            if self.size.yields and turn == 0:
                first, *grants = grants
                self.worker.say(
                    wire.Yield(self.worker.session, first.token, 1, 0, 1, [self.stub(99)])
                )
            for grant in grants:
                ends = {"error": self.text, "trace": self.text, "tail": self.text[:9_000]}
                self.worker.end(grant, outcome=Outcome.FAILED, **ends)

    def ask(self) -> None:
        """Ask everything; each question has one answer."""
        piece = f"F0{self.name}"
        for question in (
            client.ListRuns(7, 1_000),
            client.ShowRun(7, "last"),
            client.ListTasks(7, "", "", [], 1_000),
            client.ListWorkers(7),
            client.ListResources(7),
            client.Why(7, piece),
            client.Why(7, "F"),
            client.ShowGraph(7, "last"),
            client.ShowGraph(7, "last", "tasks"),
            client.FindAttempt(7, piece),
            client.About(7),
            client.Retry(7, "F"),
            client.Cancel(7, "F", self.name),
            client.WorkerCommand(7, "w", "drain"),
            client.SetResource(7, f"new{self.name}", 1.0),
        ):
            self.env.say(b"client-q", question)
            assert [one for one in self.env.said.pop(b"client-q", []) if one.request == 7], question  # type: ignore[attr-defined]


@short(30)
@given(sizes)
def test_every_message_fits_whatever_is_as_large_as_it_may_be(size: Size) -> None:
    world = World(size)
    world.env.say(b"client-w", client.Watch(8, "r-1"))
    world.submit()
    world.env.say(b"client-w", client.Watch(8, "r-1"))
    world.work()
    world.ask()
    world.env.wait(1.0)
    assert world.env.heard(b"client-w", client.RunUpdate)
    world.env.say(b"client", client.Cancel(9, "r-1", world.name))
    world.env.wait(100.0)  # the worker is silent: its leases end
    world.env.restart()
    world.ask()
    world.env.check()


@pytest.mark.parametrize("count", [1, 3])
def test_bound_of_a_list_leaves_room_for_what_is_beside_it(count: int) -> None:
    assert (count + 1) * bounds.FILL_BYTES <= codec.MESSAGE_BYTES_MAX
