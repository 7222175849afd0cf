"""Parameters that take one of a fixed set of values, or several of them."""

from __future__ import annotations

import enum as enums
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from flow.parameters.base import NO_VALUE, NoValue, Parameter
from flow.parameters.errors import BadChoices, BadDeclaration, shown, suggestion
from flow.parameters.optional import OptionalMixin

if TYPE_CHECKING:
    from typing import Unpack

    from typing_extensions import TypeVar as _TypeVar

    from flow.parameters.base import Options

    T = _TypeVar("T", default=str)
else:
    T = TypeVar("T")

E = TypeVar("E", bound=enums.Enum)
S = TypeVar("S")
R = TypeVar("R")
#: Between the values of a list, as text.
SEPARATOR: Final = ","


class _Choosing(Parameter[S, R], Generic[S, R, T]):
    """What one choice and a list of choices share: the choices, all of type ``var_type``."""

    exact_type = None
    ambiguous = False

    def __init__(
        self,
        default: R | NoValue = NO_VALUE,
        *,
        choices: Iterable[T] | None = None,
        var_type: type[T] = str,  # type: ignore[assignment]
        **options: Unpack[Options],
    ) -> None:
        super().__init__(default, **options)
        self.choices = tuple(dict.fromkeys(choices or ()))
        self.var_type = var_type
        strangers = [choice for choice in self.choices if type(choice) is not var_type]
        if strangers or not self.choices:
            raise (BadChoices if strangers else BadDeclaration)(
                f"{type(self).__name__} needs choices of type {var_type.__name__}, "
                f"got {shown(strangers or self.choices)}",
                hint="give choices=[...] and var_type=..., all of one type",
            )
        listed = ", ".join(str(choice) for choice in self.choices)
        self._one = self.what = f"one of {listed}"
        self.description = f"{self.description or ''} Choices: {{{listed}}}".strip()

    def read_one(self, text: str) -> T:
        """Read one choice."""
        # As it is written first: bool("False") is true.
        for choice in self.choices:
            if str(choice) == text:
                return choice
        make: Any = self.var_type
        try:
            value = make(text)
        except (ValueError, TypeError):
            raise self._refuse(text) from None
        return self.choose(value)

    def choose(self, value: Any) -> T:
        """Return the choice that equals the value."""
        if value not in self.choices:
            raise self._refuse(value)
        # The declared object: 1 is found among [True], and 1.0 among [1], but is written otherwise.
        return self.choices[self.choices.index(value)]

    def _refuse(self, value: Any) -> ValueError:
        near = suggestion(str(value)[:100], [str(choice) for choice in self.choices])
        return ValueError(f"{shown(value)} is not {self._one}.{near}")


class ChoiceParameter(_Choosing[T, T, T], Generic[T]):
    """One of ``choices``, all of type ``var_type``; checked wherever the value comes from."""

    def parse(self, text: str) -> T:
        return self.read_one(text)

    def normalize(self, value: Any) -> T:
        return self.choose(value)


class OptionalChoiceParameter(OptionalMixin["T | None"], ChoiceParameter[T]):
    """One of ``choices`` or nothing. As in luigi it has no default of its own."""

    def __init__(
        self,
        default: T | NoValue | None = NO_VALUE,
        *,
        choices: Iterable[T] | None = None,
        var_type: type[T] = str,  # type: ignore[assignment]
        **options: Unpack[Options],
    ) -> None:
        ChoiceParameter.__init__(  # type: ignore[misc]
            self,
            default,
            choices=choices,
            var_type=var_type,
            **options,
        )


class ChoiceListParameter(_Choosing["tuple[T, ...]", Iterable[T], T], Generic[T]):
    """Any number of ``choices``, in order; comma-separated as text, a tuple as value."""

    def __init__(
        self,
        default: Iterable[T] | NoValue = NO_VALUE,
        *,
        choices: Iterable[T] | None = None,
        var_type: type[T] = str,  # type: ignore[assignment]
        **options: Unpack[Options],
    ) -> None:
        super().__init__(default, choices=choices, var_type=var_type, **options)
        for choice in map(str, self.choices):
            if SEPARATOR in choice or not choice:
                raise BadDeclaration(
                    f"the choice {shown(choice)} cannot be one of a comma-separated list",
                    hint="rename it, or use ListParameter",
                )
        self.what = f"a list, each {self.what}"

    def parse(self, text: str) -> tuple[T, ...]:
        return tuple([self.read_one(one) for one in text.split(SEPARATOR)]) if text else ()

    def serialize(self, value: Any) -> str:
        return str(None) if value is None else SEPARATOR.join([str(one) for one in value])

    def normalize(self, value: Any) -> tuple[T, ...]:
        if isinstance(value, str):
            return self.parse(value)
        return tuple([self.choose(one) for one in _items(self, value)])


class EnumParameter(Parameter[E]):
    """A member of an ``enum.Enum``, by its name."""

    exact_type = None
    ambiguous = False

    def __init__(
        self,
        default: E | NoValue = NO_VALUE,
        *,
        enum: type[E] | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(default, **options)
        self._member = _Members(enum, type(self).__name__)
        self.what = self._member.what

    def parse(self, text: str) -> E:
        return self._member.read(text)

    def serialize(self, value: Any) -> str:
        return str(None if value is None else value.name)

    def normalize(self, value: Any) -> E:
        return self._member.take(value)


class EnumListParameter(Parameter["tuple[E, ...]", Iterable[E]]):
    """Any number of members of an ``enum.Enum``, by name and in order; comma-separated as text."""

    exact_type = None
    ambiguous = False

    def __init__(
        self,
        default: Iterable[E] | NoValue = NO_VALUE,
        *,
        enum: type[E] | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(default, **options)
        self._member = _Members(enum, type(self).__name__)
        self.what = f"a list, each {self._member.what}"

    def parse(self, text: str) -> tuple[E, ...]:
        return tuple([self._member.read(one) for one in text.split(SEPARATOR)]) if text else ()

    def serialize(self, value: Any) -> str:
        return str(None) if value is None else SEPARATOR.join([member.name for member in value])

    def normalize(self, value: Any) -> tuple[E, ...]:
        if isinstance(value, str):
            return self.parse(value)
        return tuple([self._member.take(one) for one in _items(self, value)])


class _Members(Generic[E]):
    """The members of one ``enum.Enum``, and how they are read."""

    def __init__(self, enum: type[E] | None, owner: str) -> None:
        if enum is None:
            raise BadDeclaration(f"{owner} needs an enum", hint=f"{owner}(enum=Color)")
        self._enum = enum
        self.what = "one of " + ", ".join(enum.__members__)

    def read(self, text: str) -> E:
        member = self._enum.__members__.get(text)
        if member is None:
            near = suggestion(text[:100], list(self._enum.__members__))
            raise ValueError(f"{shown(text)} is not {self.what}.{near}")
        return member

    def take(self, value: Any) -> E:
        if isinstance(value, self._enum) and value.name in self._enum.__members__:
            return value  # and not several flags in one, which have no name
        if isinstance(value, str):
            return self.read(value)
        raise ValueError(f"{shown(value)} is not {self.what}")


def _items(param: Parameter[Any], value: Any) -> list[Any]:
    try:
        return list(value)
    except TypeError:
        raise param.reject(value) from None
