"""The parameters of a task as messages and the store carry them: a msgpack map of text to text.

Besides the text of each parameter there may be values under names that no parameter can have: see
``flow.wire.names``.
"""

from __future__ import annotations

import msgspec

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, str]).decode


def pack_params(named: dict[str, str]) -> bytes:
    """Pack the map. Raises ``UnicodeEncodeError`` for text that is not Unicode."""
    return _encode(named)


def unpack_params(packed: bytes) -> dict[str, str]:
    """Read the map. Raises ``msgspec.MsgspecError`` where it is none."""
    return _decode(packed)
