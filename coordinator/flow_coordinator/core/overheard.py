"""What user code prints while a run is planned, passed on to those who follow the run.

Kept as long as the run is in memory, for who follows it later; what is printed once is shown once,
whichever planners say it again. It is not stored: what explains a failure is in the failure.
"""

from __future__ import annotations

from flow.wire.messages.client import Printed
from flow_coordinator.core.records import PlanRecord
from flow_coordinator.core.state import State

#: What is kept of one run, characters.
CHARS_MAX = 16 << 10
_MORE = "... more was printed while planning, and is left out ..."


def heard(s: State, plan: PlanRecord, text: str) -> None:
    """Take what came with a chunk of an answer: whole lines."""
    if not text:
        return
    run = plan.program
    known = {line for each in run.printed for line in each.text.split("\n")}
    new = [line for line in text.split("\n") if line and line not in known]
    if not new or _MORE in known:
        return
    room = CHARS_MAX - sum(len(each.text) + 1 for each in run.printed)
    told: list[str] = []
    for line in new:
        room -= len(line) + 1
        if room < 0:
            told.append(_MORE)
            break
        told.append(line)
    worker = s.workers.get(plan.uid)
    run.printed.append(Printed(worker.name if worker is not None else "", "\n".join(told)))
    run.changed = True
    s.news[run.number] = run
