"""Legal moves as data: one kind of table for both sides.

A table covers every (state, event) pair: ``Go`` to a state, ``Ignore`` with the reason why nothing
happens, or ``Refuse`` with the reason why it is somebody's fault. Whose fault decides what follows,
and nothing is changed either way: an event of our own is a bug of the caller and raises; what
others said (``heard``) is counted and said, since their mistake must not stop us.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterator, Mapping
from typing import Generic, NamedTuple, TypeAlias, TypeVar

StateT = TypeVar("StateT", bound=enum.IntEnum)
EventT = TypeVar("EventT", bound=enum.IntEnum)


class Go(NamedTuple, Generic[StateT]):
    """Change to this state (possibly the same one, with work to do)."""

    state: StateT


class Ignore(NamedTuple):
    """Nothing happens, and that is right."""

    why: str


class Refuse(NamedTuple):
    """Whoever caused the event broke a rule: nothing changes, and it does not go unsaid."""

    why: str


Move: TypeAlias = Go[StateT] | Ignore | Refuse


class IllegalMove(Exception):
    """A bug: our own code caused an event that the table refuses. The process stops.

    ``whose``: of which task, token or program.
    """

    def __init__(self, what: str, whose: str) -> None:
        super().__init__(what)
        self.whose = whose


class Moves(Generic[StateT, EventT]):
    """The moves of one kind of thing. ``rows[state][event]`` is the same table for hot paths."""

    def __init__(
        self,
        name: str,
        states: type[StateT],
        events: type[EventT],
        cells: Mapping[tuple[StateT, EventT], Move[StateT]],
        *,
        heard: Collection[EventT] = (),
    ) -> None:
        """Take a table of ``name``. Raises ``ValueError`` where it does not cover every pair.

        ``heard``: events that others cause by what they say.
        """
        pairs = {(state, event) for state in states for event in events}
        if wrong := pairs.symmetric_difference(cells):
            raise ValueError(f"the moves of a {name} do not cover or know {sorted(wrong)}")
        self.name = name
        self.heard = frozenset(heard)
        self._cells = dict(cells)
        self.rows: tuple[tuple[Move[StateT], ...], ...] = tuple(
            tuple(self._cells[state, event] for event in sorted(events)) for state in sorted(states)
        )

    def __getitem__(self, pair: tuple[StateT, EventT]) -> Move[StateT]:
        return self._cells[pair]

    def __iter__(self) -> Iterator[tuple[StateT, EventT]]:
        return iter(self._cells)

    def items(self) -> Iterator[tuple[tuple[StateT, EventT], Move[StateT]]]:
        """Yield every pair with its move."""
        return iter(self._cells.items())

    def check(self, state: StateT, event: EventT, whose: str) -> Refuse | None:
        """Tell whether the table refuses an event of ``whose``, and why.

        Raises ``IllegalMove`` where it refuses one that others cannot cause.
        """
        move = self._cells[state, event]
        if type(move) is not Refuse:
            return None
        if event not in self.heard:
            what = f"{event.name} in state {state.name} of {whose}: {move.why}"
            raise IllegalMove(what, whose)
        return move
