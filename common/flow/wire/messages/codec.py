"""Bytes to messages and back, under explicit limits.

Decoding goes through msgpack's C unpacker, which checks every length it is told *before* it
allocates, and then through a typed conversion that knows the closed set of messages a role may
send. Everything malformed raises ``ProtocolError``; nothing else escapes.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgpack  # type: ignore[import-untyped]
import msgspec

from flow.errors import ProtocolError
from flow.wire.messages.client import Reply, Request
from flow.wire.messages.shared import PlanChunk, unicode
from flow.wire.messages.worker import ToCoordinator, ToWorker

#: One frame on the wire; the sockets refuse more.
MESSAGE_BYTES_MAX = 1 << 20
#: Elements of one array or map.
ITEMS_MAX = 1 << 16

T = TypeVar("T", bound=msgspec.Struct)

_encoder = msgspec.msgpack.Encoder()


def encode(message: msgspec.Struct) -> bytes:
    """Spell a message. Raises ``ProtocolError`` where it is too large to be received."""
    data = spell(message)
    if len(data) > MESSAGE_BYTES_MAX:
        name = type(message).__name__
        raise ProtocolError(f"{name} of {len(data)} bytes is over the limit {MESSAGE_BYTES_MAX}")
    return data


def spell(value: msgspec.Struct) -> bytes:
    """Spell a value of any size. What is not Unicode in its texts is escaped: an error that cannot
    be told would be lost.
    """
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return _encoder.encode(_escaped(_plain(value)))


def told(message: T) -> T:
    """Return a message as it is when it was sent, where none is: between parts of one process."""
    try:
        _encoder.encode(message)
    except UnicodeEncodeError:
        return msgspec.convert(_escaped(_plain(message)), type(message))
    return message


def _plain(value: msgspec.Struct) -> Any:
    return msgspec.to_builtins(value, builtin_types=(bytes,))


def _escaped(value: Any) -> Any:
    if isinstance(value, str):
        return unicode(value)
    if isinstance(value, list | tuple):
        return [_escaped(each) for each in value]
    if isinstance(value, dict):
        return {_escaped(name): _escaped(each) for name, each in value.items()}
    return value


def _unpack(data: bytes) -> Any:
    return msgpack.unpackb(
        data,
        raw=False,
        use_list=True,
        strict_map_key=True,
        max_str_len=MESSAGE_BYTES_MAX,
        max_bin_len=MESSAGE_BYTES_MAX,
        max_array_len=ITEMS_MAX,
        max_map_len=ITEMS_MAX,
        max_ext_len=0,
    )


def _decode(data: bytes, kinds: Any) -> Any:
    if len(data) > MESSAGE_BYTES_MAX:
        raise ProtocolError(f"{len(data)} bytes are over the limit {MESSAGE_BYTES_MAX}")
    try:
        return msgspec.convert(_unpack(data), kinds, strict=True)
    except (ValueError, TypeError, RecursionError, MemoryError, msgpack.UnpackException) as e:
        raise ProtocolError(f"not a message: {type(e).__name__}: {str(e)[:200]}") from None


def decode_at_coordinator(data: bytes) -> ToCoordinator | Request:
    """Read what a worker or a command sent."""
    message: ToCoordinator | Request = _decode(data, ToCoordinator | Request)
    return message


def decode_at_worker(data: bytes) -> ToWorker:
    """Read what the coordinator sent to a worker."""
    message: ToWorker = _decode(data, ToWorker)
    return message


def decode_at_client(data: bytes) -> Reply:
    """Read what the coordinator sent to a command."""
    message: Reply = _decode(data, Reply)
    return message


def encode_chunk(chunk: PlanChunk) -> bytes:
    """Spell a piece of a planning answer, to be carried by PLANNED."""
    return spell(chunk)


def decode_chunk(body: bytes) -> PlanChunk:
    """Read what ``encode_chunk`` made. Raises ``ProtocolError``."""
    chunk: PlanChunk = _decode(body, PlanChunk)
    return chunk
