"""The parameters of a task as bytes: what messages and the store carry of it.

Values that their text does not give back are in it once more, with
their types, as one text under the name ``TYPED``, which no parameter can have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from flow.errors import UsageError
from flow.parameters import errors, typed
from flow.visible import is_unicode
from flow.wire.names import TYPED
from flow.wire.params import pack_params, unpack_params

#: Key under which a task keeps its packed parameters.
_CACHED: Final = "_flow_packed"


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
        packed = pack_checked(named, task.task_family, signature.untyped(task._flow_values))
        task.__dict__[_CACHED] = packed
    return packed


def pack_checked(
    named: dict[str, str], family: str, values: Mapping[str, Any] | None = None
) -> bytes:
    """Pack parameters given as strings. Raises ``BadParameter`` for text that is not Unicode.

    ``values``: those of them that their text does not give back. Raises ``BadParameter`` for one
    that no other process can be told.
    """
    if values:
        named = {**named, TYPED: _written(values, family)}
    try:
        return pack_params(named)
    except UnicodeEncodeError:
        name = next(name for name, text in named.items() if not is_unicode(text))
        raise errors.not_unicode(family, name, named[name]) from None


def _written(values: Mapping[str, Any], family: str) -> str:
    for name, value in values.items():
        try:
            typed.write({name: value})
        except (typed.Untold, ValueError, RecursionError) as error:
            reason = f"{errors.shown(value)} ({error}) cannot be told to another process"
            reason = f"{reason}; what can: {typed.KINDS}"
            raise errors.bad(family, name, reason, "Parameter") from None
    return typed.write(values)


def unpack_values(packed: bytes) -> dict[str, Any]:
    """Read what ``packed_params`` wrote: text by name, and values that are none."""
    try:
        named: dict[str, Any] = unpack_params(packed)
        values = named.pop(TYPED, "")
        if values:
            named.update(typed.read(values))
        return named
    except (msgspec.MsgspecError, ValueError) as error:
        raise UsageError(f"parameters are not a map of text to text: {error}") from None
