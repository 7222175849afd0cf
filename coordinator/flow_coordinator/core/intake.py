"""Runs that are submitted in parts, because their roots do not fit into one message.

Parts are kept in memory only, and acknowledging one promises nothing: a run exists, and is durable,
once its last part came. A client that hears that fewer roots are held than it sent, after a restart
for example, goes on from there. What is left half-said is dropped, and never starts.
"""

from __future__ import annotations

from flow.wire.messages.client import RootTask, Submit, SubmitTaken
from flow_coordinator.core.state import State
from flow_coordinator.core.timers import Timer
from flow_coordinator.core.values import Peer
from flow_coordinator.core.waiting import Intake

#: Silence after which a half-said run is dropped: longer than a client waits for an answer.
DROP_S = 120.0
#: Runs that may be half-said at the same time; one more drops the oldest.
INTAKES_MAX = 16


def take(s: State, peer: Peer, message: Submit) -> list[RootTask] | None:
    """Keep the next part of a run, and say how much is held; with the last one, return all."""
    intake = s.intakes.get(message.key)
    if intake is None or intake.total != message.total:
        intake = _begin(s, message)
    intake.heard_at = s.now
    if message.at == len(intake.roots):  # any other is a repetition, or was said to another start
        intake.roots += message.roots
    if len(intake.roots) >= intake.total:
        del s.intakes[message.key]
        return intake.roots
    s.send(peer, SubmitTaken(message.request, len(intake.roots)))
    return None


def _begin(s: State, message: Submit) -> Intake:
    s.intakes.pop(message.key, None)
    while len(s.intakes) >= INTAKES_MAX:
        del s.intakes[next(iter(s.intakes))]
    intake = s.intakes[message.key] = Intake(message.total)
    s.timer(s.now + DROP_S, Timer.INTAKE, message.key)
    return intake


def overdue(s: State, key: str) -> None:
    """Drop a half-said run whose client is silent."""
    intake = s.intakes.get(key)
    if intake is None:
        return
    if s.now - intake.heard_at < DROP_S:
        s.timer(intake.heard_at + DROP_S, Timer.INTAKE, key)
        return
    del s.intakes[key]
    s.note(
        "submission dropped: its client is silent",
        "warning",
        roots=len(intake.roots),
        total=intake.total,
    )
