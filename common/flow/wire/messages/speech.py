"""What a running attempt says and hears, as values that several messages carry.

``Words`` are everything one attempt has said, whole each time: the newest number wins, so copies,
loss and disorder are harmless. A ``Letter`` is addressed to a token, so it can reach one attempt
only, and its id is delivered to that attempt once.
"""

from __future__ import annotations

import enum

from flow.wire.ids import Token
from flow.wire.messages.shared import Value

#: Bounds of one attempt's words; longer texts are cut where they are said.
STATUS_CHARACTERS_MAX = 2_000
URL_CHARACTERS_MAX = 2_000
STATISTICS_MAX = 32
STATISTIC_CHARACTERS_MAX = 200
#: Names of resources one attempt may give back.
DECREASED_NAMES_MAX = 64
#: Bounds of a letter and of its reply.
LETTER_CHARACTERS_MAX = 16_000
REPLY_CHARACTERS_MAX = 16_000
LETTER_ID_CHARACTERS_MAX = 64


class Words(Value, frozen=True):
    """All that one attempt has said so far. Empty texts and a progress below 0: nothing."""

    token: Token
    number: int  #: grows with every change
    status: str = ""
    progress: float = -1.0  #: percent
    tracking_url: str = ""
    decreased: dict[str, float] = {}  #: given back since the attempt began, by resource
    statistics: dict[str, str] = {}


class Letter(Value, frozen=True):
    """A message to one attempt. ``id`` is the sender's choice."""

    token: Token
    id: str
    content: str
    payload: dict[str, str] = {}


class Fate(enum.IntEnum):
    """What became of a letter."""

    TAKEN = 0  #: in the attempt's queue
    FULL = 1  #: the attempt does not read its queue
    GONE = 2  #: the attempt has ended
    DEAF = 3  #: its class does not accept messages
