"""What becomes of a task whose attempt is being killed: a closed list, and which word counts.

It is decided when the kill is, and happens when the end of the attempt is reported; until then
more may come. The first word counts, but for what ``REPLACES`` says. ``outcomes`` says what each
does.
"""

from __future__ import annotations

import enum


class Doom(enum.StrEnum):
    """What a killed task becomes. Stored as its text."""

    CANCEL = "cancel"  #: nobody wants it any more
    AGAIN = "again"  #: it was cancelled, and somebody wants it since: it runs again, uncounted
    FAIL = "fail"  #: what it yielded can never run
    UPSTREAM = (
        "upstream"  #: what it yielded ended badly; runs again if that has come back meanwhile
    )


#: Earlier words that a later one replaces. A person's word goes over everything, and what was
#: cancelled (only that) is wanted again when another run asks for it.
REPLACES: dict[Doom, frozenset[Doom]] = {
    Doom.CANCEL: frozenset(Doom),
    Doom.AGAIN: frozenset({Doom.CANCEL}),
    Doom.FAIL: frozenset(),
    Doom.UPSTREAM: frozenset(),
}
#: What ends all tasks of a batch, not only the first, in whose name they yield.
OF_A_BATCH = frozenset({Doom.FAIL, Doom.UPSTREAM})
