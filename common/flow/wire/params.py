"""The parameters of a task as messages and the store carry them: a msgpack map of text to text.

Besides the text of each parameter there may be values under names that no parameter can have.
"""

from __future__ import annotations

import msgspec

#: Values that are no text, with their types, as one text. See ``flow.parameters.typed``.
TYPED = ""
#: Of a root: names that a command line had for options of the command, behind TASK; between spaces.
TAKEN = "-"
#: Of a root: names behind which the command line had no value; between spaces.
BARE = "?"

#: How the text of a parameter begins that holds tasks; what people are shown of it comes next, up
#: to the quotation mark. See ``flow.parameters.held``.
HELD = '{"held": "'


def brief(text: str) -> str:
    """Return what people are shown of a value: of one that holds tasks, which those are."""
    return text[len(HELD) :].partition('"')[0] if text.startswith(HELD) else text


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, str]).decode


def pack_params(named: dict[str, str]) -> bytes:
    """Pack the map. Raises ``UnicodeEncodeError`` for text that is not Unicode."""
    return _encode(named)


def unpack_params(packed: bytes) -> dict[str, str]:
    """Read the map. Raises ``msgspec.MsgspecError`` where it is none."""
    return _decode(packed)
