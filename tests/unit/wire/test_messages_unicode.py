"""Text that is no Unicode (names of files have lone surrogates) is escaped where it is sent."""

from __future__ import annotations

import os

import pytest

from flow.wire.messages import codec
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import Outcome, PlanChunk, PlanError, Policy, Report, Stub
from flow.wire.messages.speech import Words
from flow_worker import channel

ODD = os.fsdecode(b"r\xe9sum\xe9")
SPELLED = "r\\udce9sum\\udce9"


def test_report_of_a_worker_arrives_escaped_and_otherwise_as_it_is() -> None:
    report = Report("w.1.1", Outcome.FAILED, 1.5, ODD, f"{ODD}.py:1", "é 売上", "\x1b")
    heard = codec.decode_at_coordinator(codec.encode(wire.Results("s", [report])))
    told = Report("w.1.1", Outcome.FAILED, 1.5, SPELLED, f"{SPELLED}.py:1", "é 売上", "\x1b")
    assert heard == wire.Results("s", [told])


def test_planning_answer_arrives_escaped_also_in_names_of_maps_and_with_its_bytes() -> None:
    stub = Stub("X_1", "m", "X", b"\x81\xff")
    policy = Policy(resources={ODD: 1.0})
    chunk = PlanChunk([stub], [(0, [1])], [policy], errors=[PlanError(0, "import", ODD)])
    heard = codec.decode_chunk(codec.encode_chunk(chunk))
    assert heard.stubs == [stub] and heard.edges == [(0, [1])]
    assert heard.policies[0].resources == {SPELLED: 1.0}
    assert heard.errors[0].text == SPELLED


@pytest.mark.parametrize(
    "frame",
    [
        channel.Finished([Report("w.1.1", Outcome.FAILED, error=ODD)]),
        channel.Says(Words("w.1.1", 1, ODD, -1.0, ODD, {ODD: 1.0}, {ODD: ODD}), [("1", ODD)]),
        channel.Loaded("code", 0.1, error=ODD, files={ODD: "0"}),
        channel.Dirty(ODD, []),
        channel.Removed(1, 0, [ODD]),
    ],
    ids=["report", "words", "import", "dirty", "removed"],
)
def test_whatever_a_task_process_says_reaches_its_agent(frame: channel.Frame) -> None:
    (data,) = channel.Splitter().feed(channel.pack(frame))
    heard = channel.unpack_at_agent(data)
    assert type(heard) is type(frame)
    assert ODD not in repr(heard) and SPELLED in str(repr(heard)).replace("\\\\", "\\")


def test_message_within_one_process_is_what_it_would_be_when_sent() -> None:
    fine = wire.Results("s", [Report("w.1.1", Outcome.DONE)])
    assert codec.told(fine) is fine
    odd = wire.Results("s", [Report("w.1.1", Outcome.FAILED, error=ODD)])
    assert codec.told(odd) == codec.decode_at_coordinator(codec.encode(odd))
