"""The parameters of a task as bytes: what messages and the store carry of it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from flow.errors import UsageError
from flow.parameters.errors import is_unicode, not_unicode

#: Key under which a task keeps its packed parameters.
_CACHED: Final = "_flow_packed"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, str]).decode


def packed_params(task: Any) -> bytes:
    """Return the msgpack map of all but private parameters, in declaration order; kept."""
    packed: bytes | None = task.__dict__.get(_CACHED)
    if packed is None:
        signature = type(task)._flow_signature
        texts = task._flow_texts
        if signature.sent_all:
            named = dict(zip(signature.names, texts, strict=True))
        else:
            named = {name: texts[index] for name, index in signature.sent}
        packed = pack_params(named, task.task_family)
        task.__dict__[_CACHED] = packed
    return packed


def pack_params(named: dict[str, str], family: str) -> bytes:
    """Pack parameters given as strings. Raises ``BadParameter`` for text that is not Unicode."""
    try:
        return _encode(named)
    except UnicodeEncodeError:
        name = next(name for name, text in named.items() if not is_unicode(text))
        raise not_unicode(family, name, named[name]) from None


def unpack_params(packed: bytes) -> dict[str, str]:
    """Read what ``packed_params`` wrote."""
    try:
        return _decode(packed)
    except msgspec.MsgspecError as error:
        raise UsageError(f"parameters are not a map of text to text: {error}") from None
