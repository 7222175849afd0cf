"""What a task class declares, read once: binds arguments to values and values to strings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from flow.errors import FlowError
from flow.parameters import errors
from flow.parameters.base import NO_VALUE, Parameter, ParameterVisibility
from flow.parameters.defaults import resolve_default
from flow.visible import is_unicode

_OWN_PACKAGE: Final = "flow.parameters."
#: Every Python writes shorter numbers (str_digits_check_threshold of sys.int_info, 640 digits).
INT_BITS_FREE: Final = 2048


class Signature:
    """The parameters of one task class, in declaration order.

    Everything a constructor call or a task id needs is prepared here, because both happen once per
    task and a class is read once per process.
    """

    __slots__ = (
        "_bindings",
        "_by_hash",
        "_by_text",
        "_foreign",
        "_identified",
        "_position",
        "_serializers",
        "_untyped",
        "batched",
        "family",
        "holders",
        "identity",
        "names",
        "params",
        "sent",
        "sent_all",
    )

    def __init__(self, family: str, params: Mapping[str, Parameter[Any]]) -> None:
        ordered = sorted(params.items(), key=lambda pair: pair[1].counter)
        self.family = family
        self.params: tuple[tuple[str, Parameter[Any]], ...] = tuple(ordered)
        self.names = tuple(name for name, _ in ordered)
        self._bindings = tuple((name, exact_type(param), param) for name, param in ordered)
        self._serializers = tuple(param.serialize for _, param in ordered)
        self._position = tuple(name for name, param in ordered if param.positional)
        #: Indices whose values are equal for what is written differently: 1, 1.0 and True.
        self._by_text = tuple(i for i, (_, param) in enumerate(ordered) if param.ambiguous)
        self._by_hash = not self._by_text
        #: (name, index) of what other processes get.
        self.sent = tuple(
            (name, index)
            for index, (name, param) in enumerate(ordered)
            if param.visibility != ParameterVisibility.PRIVATE
        )
        self.sent_all = len(self.sent) == len(ordered)
        #: (name, index) of what makes the task id, by name.
        self.identity = tuple(
            sorted(
                (name, index)
                for index, (name, param) in enumerate(ordered)
                if param.significant and param.visibility == ParameterVisibility.PUBLIC
            )
        )
        #: Indices whose text is not what counts for the task id.
        self._identified = {
            index: param
            for index, (_, param) in enumerate(ordered)
            if type(param).identify is not Parameter.identify
        }
        #: Names of what counts for the task id and may hold classes or tasks.
        self.holders = tuple(
            ordered[index][0] for _, index in self.identity if _may_hold(ordered[index][1])
        )
        #: Whether kinds are among them of which flow does not know that every value has a text.
        self._foreign = any(
            not type(param).__module__.startswith(_OWN_PACKAGE) for _, param in ordered
        )
        #: (name, index) of what is sent and has no kind: its text gives back nothing but text.
        self._untyped = tuple(
            (name, index) for name, index in self.sent if is_untyped(ordered[index][1])
        )
        self.batched = tuple(name for name, param in ordered if param.batch_method is not None)

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return the canonical values of all parameters. Raises ``ParameterError``."""
        if args:
            kwargs = self._by_name(args, kwargs)
        values = []
        given = 0
        for name, exact, param in self._bindings:
            value = kwargs.get(name, NO_VALUE)
            if value is NO_VALUE:
                value = self._default(name, param)
            else:
                given += 1
                if value.__class__ is not exact:
                    value = self._accept(name, param, value)
            values.append(value)
        if given != len(kwargs):
            self.check_names(kwargs)
        return tuple(values)

    def cache_key(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return what identifies an instance: equal only for tasks that behave the same."""
        if self._by_hash:
            return values
        try:
            return (
                *values,
                *[
                    self._serializers[index](values[index])
                    for index in self._by_text
                    if values[index].__class__ is not str
                ],
            )
        except Exception as error:  # serialize() may be a user's
            raise self._unwritable(values, error) from error

    def check_texts(self, values: tuple[Any, ...]) -> None:
        """Refuse, when a task is made, what cannot be written. Raises ``BadParameter``."""
        for index, value in enumerate(values):
            # File names that are no UTF-8 are such text; messages and stores have no place for it.
            if value.__class__ is str and not value.isascii() and not is_unicode(value):
                raise errors.not_unicode(self.family, self.names[index], value)
            # Python refuses to write what takes quadratic time to write.
            if value.__class__ is int and value.bit_length() > INT_BITS_FREE:
                self.strings(values)
        if self._foreign:
            self.strings(values)

    def untyped(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """Return values by name that are no text, of parameters that give back only text."""
        return {
            name: values[index]
            for name, index in self._untyped
            if values[index].__class__ is not str
            and not (values[index] is None and self.params[index][1].default is None)
        }

    def pairs(self, values: tuple[Any, ...], texts: tuple[str, ...]) -> list[tuple[str, str]]:
        """Return (name, text) of what makes the task id, by name."""
        found = [(name, texts[index]) for name, index in self.identity]
        if self._identified:
            for place, (name, index) in enumerate(self.identity):
                param = self._identified.get(index)
                if param is not None:
                    found[place] = (name, param.identify(values[index], texts[index]))
        return found

    def strings(self, values: tuple[Any, ...]) -> tuple[str, ...]:
        """Serialize all values."""
        try:
            return tuple(
                [write(value) for write, value in zip(self._serializers, values, strict=True)]
            )
        except errors.ParameterError:
            raise
        except Exception as error:  # serialize() may be a user's
            raise self._unwritable(values, error) from error

    def read(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Parse strings by name; unknown names are left out. Raises ``ParameterError``.

        A list of strings is joined by the parameter's ``batch_method``.
        """
        values = {}
        for name, _, param in self._bindings:
            text = params.get(name, NO_VALUE)
            if text is NO_VALUE:
                continue
            try:
                if isinstance(text, list):
                    values[name] = param.join(text)
                else:
                    values[name] = param.read(text)
            except errors.ParameterError:
                raise
            except Exception as error:  # parse() may be a user's
                raise self._bad(name, param, error) from error
        return values

    def check_names(self, names: Mapping[str, Any]) -> None:
        """Raise ``UnknownParameter`` for the first name that is no parameter."""
        for name in names:
            if name not in self.names:
                raise errors.unknown(self.family, name, self.names)

    def _by_name(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if len(args) > len(self._position):
            raise errors.too_many(self.family, len(args), self._position)
        named = dict(zip(self._position, args, strict=False))
        for name in named:
            if name in kwargs:
                raise errors.duplicate(self.family, name)
        named.update(kwargs)
        return named

    def _default(self, name: str, param: Parameter[Any]) -> Any:
        value, source = resolve_default(self.family, name, param)
        if value is not NO_VALUE:
            try:
                return param.read(value) if isinstance(value, str) else param.accept(value)
            except Exception as error:  # parse() and normalize() may be a user's
                raise self._bad(name, param, error, source=source) from error
        value = param.default
        if value is NO_VALUE:
            raise errors.missing(self.family, name, param.what, type(param).__name__)
        return self._accept(name, param, value, source="the default")

    def _accept(self, name: str, param: Parameter[Any], value: Any, *, source: str = "") -> Any:
        param.warn_of(self.family, name, value)
        try:
            return param.accept(value)
        except errors.ParameterError:
            raise
        except Exception as error:  # normalize() may be a user's
            raise self._bad(name, param, error, source=source) from error

    def _bad(
        self, name: str, param: Parameter[Any], error: Exception, *, source: str = ""
    ) -> errors.BadParameter:
        ours = isinstance(error, (ValueError, FlowError))
        reason = str(error) if ours else f"{type(error).__name__}: {error}"
        return errors.bad(self.family, name, reason, type(param).__name__, source=source)

    def _unwritable(self, values: tuple[Any, ...], error: Exception) -> errors.BadParameter:
        for (name, param), value in zip(self.params, values, strict=True):
            try:
                param.serialize(value)
            except Exception:
                reason = f"{errors.shown(value)} cannot be written as text: {error}"
                return errors.bad(self.family, name, reason, type(param).__name__)
        return errors.bad(self.family, "?", f"cannot be written as text: {error}", "Parameter")


def _may_hold(param: Parameter[Any]) -> bool:
    """Tell whether values may be task classes or tasks."""
    return param.holds_tasks or not type(param).__module__.startswith(_OWN_PACKAGE)


def is_untyped(param: Parameter[Any]) -> bool:
    """Tell whether a parameter takes any value, and reads text as it is."""
    cls = type(param)
    return cls.parse is Parameter.parse and cls.serialize is Parameter.serialize


def exact_type(param: Parameter[Any]) -> type | None:
    """Return the type whose values need no ``normalize``, unless a subclass overrides that."""
    if param.default is None:
        return None  # some text may mean None
    for cls in type(param).__mro__:
        if "exact_type" in cls.__dict__:
            found: type | None = cls.__dict__["exact_type"]
            return found
        if "normalize" in cls.__dict__ or "accept" in cls.__dict__:
            return None
    return None
