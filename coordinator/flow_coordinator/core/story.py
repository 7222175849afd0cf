"""What is told of a bug besides its traceback: what was handled, and how tasks came there."""

from __future__ import annotations

from itertools import islice

from flow.wire.moves import IllegalMove
from flow_coordinator.core.events import Event, PeerUnreachable, Received
from flow_coordinator.core.state import State

#: Moves told: of the task that it is about, or of any where nobody knows which that is.
TOLD_MAX = 40


def tell(s: State, event: Event, bug: Exception) -> str:
    """Say what was being handled and which moves came before, oldest first.

    Cost: O(moves kept).
    """
    named = [type(event).__name__]
    if isinstance(event, Received | PeerUnreachable):
        named.append(type(event.message).__name__)
    about = bug.whose if isinstance(bug, IllegalMove) else ""
    newest = (move for move in reversed(s.moves) if not about or move[1] == about)
    told = [
        f"  {s.now - at:.3f} s before: {task_id} {what.name} -> {state.name}"
        for at, task_id, what, state in islice(newest, TOLD_MAX)
    ]
    whose = f"of {about}" if about else "of any task"
    return "\n".join(
        [
            f"while handling {' '.join(named)}, epoch {s.epoch}",
            f"the last moves {whose}:" if told else f"no move {whose} is remembered",
            *reversed(told),
        ]
    )
