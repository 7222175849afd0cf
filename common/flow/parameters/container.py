"""Parameters that hold lists, tuples and maps: JSON as text, immutable as values."""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from flow.parameters.base import NO_VALUE, Parameter, S, T
from flow.parameters.errors import BadSyntax, WrongKind, shown
from flow.parameters.optional import OptionalMixin

if TYPE_CHECKING:
    from typing import Unpack

    from flow.parameters.base import Options


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
        return repr(self._items)

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


class _JsonParameter(Parameter[T, S]):
    """What list, tuple and dict share: JSON as text, frozen values, a schema.

    Args:
        schema: A JSON schema, or an object with ``validate(value)``; the values are checked against
            it wherever they come from. A JSON schema needs the package jsonschema; without it a
            warning says, once at the declaration, that nothing is checked.
    """

    exact_type = None
    ambiguous = True
    #: What the parser of JSON makes of a map.
    map_type: Any = dict
    #: What text may be; and null, which only ``normalize()`` can judge.
    kinds: tuple[type, ...] = ()

    def __init__(
        self,
        default: Any = NO_VALUE,
        *,
        schema: Any = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(default, **options)
        self.schema = schema
        if schema is None or hasattr(schema, "validate"):
            return
        if importlib.util.find_spec("jsonschema") is None:
            self.schema = None
            warnings.warn(
                "The 'jsonschema' package is not installed, so values are not checked against the "
                "schema: pip install 'flow-workflows[schema]'",
                UserWarning,
                stacklevel=2,
            )

    def parse(self, text: Any) -> Any:
        if not isinstance(text, str):
            return text
        try:
            value = json.loads(text, object_pairs_hook=self.map_type)
        except (ValueError, RecursionError) as error:
            raise BadSyntax(f"{self.reject(text)}: {error}") from None
        return self.check_kind(value)

    def check_kind(self, value: Any) -> Any:
        """Return what text was read as, if it is of this kind or nothing."""
        if value is not None and not isinstance(value, self.kinds):
            raise WrongKind(str(self.reject(value)))
        return value

    def serialize(self, value: Any) -> str:
        return json.dumps(recursively_unfreeze(value))

    def normalize(self, value: Any) -> Any:
        frozen = self.freeze(value)
        if self.schema is None:
            return frozen
        plain = recursively_unfreeze(frozen)
        self._validate(plain)
        return self.freeze(plain)  # what validates may also fill in defaults

    def freeze(self, value: Any) -> Any:
        """Check the kind of the value and make it immutable."""
        raise NotImplementedError

    def _validate(self, value: Any) -> None:
        if hasattr(self.schema, "validate"):
            self.schema.validate(value)
            return
        import jsonschema  # type: ignore[import-untyped]

        try:
            jsonschema.validate(value, self.schema)
        except jsonschema.ValidationError as error:
            place = "".join(f"[{key!r}]" for key in error.absolute_path)
            where = f" at {place}" if place else ""
            said = f"{error.message}{where}, says its schema"
            raise _invalid_type().create_from(error).saying(said) from None


@functools.cache
def _invalid_type() -> Any:
    """Make the error for a value that its schema refuses, once ``jsonschema`` is there."""
    import jsonschema

    class InvalidValue(jsonschema.ValidationError, ValueError):  # type: ignore[misc]
        said = ""

        def saying(self, said: str) -> Any:
            self.said = said
            return self

        def __str__(self) -> str:
            return self.said

    return InvalidValue


class ListParameter(_JsonParameter["tuple[Any, ...]", Iterable[Any]]):
    """A list, written as JSON and held as a tuple, nested ones too."""

    what = "a list, expected JSON like [1, 2]"
    kinds = (list, tuple, set)

    def freeze(self, value: Any) -> Any:
        if isinstance(value, (list, tuple, set, frozenset)):
            return _frozen(value)
        raise self.reject(value)


class TupleParameter(ListParameter):
    """A tuple, written as JSON or as a Python tuple, held as one, nested ones too."""

    what = "a tuple, expected [1, 2] or (1, 2)"

    def parse(self, text: Any) -> Any:
        try:
            value = super().parse(text)
        except BadSyntax as error:
            try:
                value = ast.literal_eval(text)
            except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
                raise error from None
            value = self.check_kind(value)
        return recursively_freeze(value)


class DictParameter(_JsonParameter[Mapping[str, Any], Mapping[str, Any]]):
    """A map, written as JSON in its order (which counts for identity), held immutable.

    Its keys are text, as JSON has it: another process would get text for any other key.
    """

    what = 'a map, expected JSON like {"a": 1}'
    map_type = FrozenOrderedDict
    kinds = (Mapping,)

    def freeze(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return _frozen(value)
        raise self.reject(value)


class OptionalListParameter(
    OptionalMixin["tuple[Any, ...] | None", "Iterable[Any] | None"], ListParameter
):
    """A list or nothing."""

    def __init__(
        self, default: Any = None, *, schema: Any = None, **options: Unpack[Options]
    ) -> None:
        _JsonParameter.__init__(self, default, schema=schema, **options)


class OptionalTupleParameter(
    OptionalMixin["tuple[Any, ...] | None", "Iterable[Any] | None"], TupleParameter
):
    """A tuple or nothing."""

    def __init__(
        self, default: Any = None, *, schema: Any = None, **options: Unpack[Options]
    ) -> None:
        _JsonParameter.__init__(self, default, schema=schema, **options)


class OptionalDictParameter(
    OptionalMixin["Mapping[str, Any] | None", "Mapping[str, Any] | None"], DictParameter
):
    """A map or nothing."""

    def __init__(
        self, default: Any = None, *, schema: Any = None, **options: Unpack[Options]
    ) -> None:
        _JsonParameter.__init__(self, default, schema=schema, **options)


def _frozen(value: Any) -> Any:
    _check_keys(value)
    return recursively_freeze(value)


def _check_keys(value: Any) -> None:
    """Refuse keys that JSON would turn into text."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ValueError(
                    f"the key {shown(key)} of a map is not text, and would be in another process"
                )
            _check_keys(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_keys(item)
