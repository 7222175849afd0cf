"""Parameters that hold lists, tuples and maps: JSON as text, immutable as values."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from typing import Any

from flow.parameters.base import NO_VALUE, Parameter
from flow.parameters.errors import BadDeclaration


class FrozenOrderedDict(Mapping[Any, Any]):
    """An immutable, hashable map that keeps its order."""

    __slots__ = ("_hash", "_items")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._items = dict(*args, **kwargs)
        self._hash: int | None = None

    def __getitem__(self, key: Any) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        if self._hash is None:
            self._hash = hash(frozenset(self._items.items()))
        return self._hash

    def __repr__(self) -> str:
        return f"FrozenOrderedDict({self._items!r})"

    def get_wrapped(self) -> dict[Any, Any]:
        """Return a new ordinary dict of the top level."""
        return dict(self._items)


def recursively_freeze(value: Any) -> Any:
    """Turn maps into ``FrozenOrderedDict`` and lists, tuples and sets into tuples, all the way."""
    if isinstance(value, Mapping):
        return FrozenOrderedDict((key, recursively_freeze(item)) for key, item in value.items())
    if isinstance(value, (set, frozenset)):
        # The order of a set depends on the hash seed; a task's identity must not.
        return tuple(sorted((recursively_freeze(item) for item in value), key=repr))
    if isinstance(value, (list, tuple)):
        return tuple([recursively_freeze(item) for item in value])
    return value


def recursively_unfreeze(value: Any) -> Any:
    """Turn frozen maps into dicts and tuples into lists, all the way."""
    if isinstance(value, Mapping):
        return {key: recursively_unfreeze(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [recursively_unfreeze(item) for item in value]
    return value


class _JsonParameter(Parameter[Any]):
    """What list, tuple and dict share. ``schema`` is a JSON schema or an object with validate()."""

    exact_type = None
    ambiguous = True

    def __init__(self, default: Any = NO_VALUE, *, schema: Any = None, **options: Any) -> None:
        super().__init__(default, **options)
        self.schema = schema

    def parse(self, text: Any) -> Any:
        if not isinstance(text, str):
            return text
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValueError(f"{self.reject(text)}: {error}") from None

    def serialize(self, value: Any) -> str:
        return json.dumps(recursively_unfreeze(value))

    def normalize(self, value: Any) -> Any:
        frozen = self.freeze(value)
        if self.schema is not None:
            self._validate(recursively_unfreeze(frozen))
        return frozen

    def freeze(self, value: Any) -> Any:
        """Check the kind of the value and make it immutable."""
        raise NotImplementedError

    def _validate(self, value: Any) -> None:
        if hasattr(self.schema, "validate"):
            self.schema.validate(value)
            return
        try:
            import jsonschema  # type: ignore[import-untyped]
        except ImportError:
            raise BadDeclaration(
                f"a schema of {type(self).__name__} needs the package jsonschema",
                hint="pip install jsonschema",
            ) from None
        jsonschema.validate(value, self.schema)


class ListParameter(_JsonParameter):
    """A list, written as JSON and held as a tuple, nested ones too."""

    what = "a list, expected JSON like [1, 2]"

    def freeze(self, value: Any) -> Any:
        if isinstance(value, (list, tuple, set, frozenset)):
            return recursively_freeze(value)
        raise self.reject(value)


class TupleParameter(ListParameter):
    """A tuple, written as JSON or as a Python tuple, held as one, nested ones too."""

    what = "a tuple, expected [1, 2] or (1, 2)"

    def parse(self, text: Any) -> Any:
        try:
            return super().parse(text)
        except ValueError as error:
            try:
                value = ast.literal_eval(text)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                raise error from None
            return value


class DictParameter(_JsonParameter):
    """A map, written as JSON in its order (which counts for identity), held immutable."""

    what = 'a map, expected JSON like {"a": 1}'

    def freeze(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return recursively_freeze(value)
        raise self.reject(value)
