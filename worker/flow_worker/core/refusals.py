"""What others said that a table of moves refuses: counted, and said to people now and then."""

from __future__ import annotations

from collections.abc import Callable

from flow.wire.moves import EventT, Moves, StateT
from flow_worker.core.effects import Effect, Note


class Refusals:
    """One count for each refusing cell of each table, so they are bounded."""

    def __init__(self, emit: Callable[[Effect], None]) -> None:
        self._emit = emit
        self.counts: dict[tuple[str, str, str], int] = {}

    def check(self, table: Moves[StateT, EventT], state: StateT, event: EventT, whose: str) -> str:
        """Tell why the table refuses an event of ``whose``; empty: it does not.

        A refusal is said when its kind comes first, and again whenever its count has doubled.
        Raises ``IllegalMove`` where the event is one of this agent's own: it has a bug.
        """
        refusal = table.check(state, event, whose)
        if refusal is None:
            return ""
        kind = (table.name, state.name, event.name)
        count = self.counts[kind] = self.counts.get(kind, 0) + 1
        if count & (count - 1) == 0:
            fields: dict[str, object] = {
                "what": table.name,
                "state": state.name,
                "event": event.name,
                "of": whose,
                "why": refusal.why,
                "count": count,
            }
            self._emit(Note("refused what was said", fields, "warning"))
        return refusal.why
