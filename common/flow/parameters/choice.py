"""Parameters that take one of a fixed set of values."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

from flow.parameters.base import NO_VALUE, Parameter
from flow.parameters.errors import BadDeclaration, shown, suggestion


class ChoiceParameter(Parameter[Any]):
    """One of ``choices``, all of type ``var_type``; checked wherever the value comes from."""

    exact_type = None

    def __init__(
        self,
        default: Any = NO_VALUE,
        *,
        choices: Iterable[Any],
        var_type: type = str,
        **options: Any,
    ) -> None:
        super().__init__(default, **options)
        self.choices = tuple(dict.fromkeys(choices))
        self.var_type = var_type
        strangers = [choice for choice in self.choices if type(choice) is not var_type]
        if strangers or not self.choices:
            raise BadDeclaration(
                f"ChoiceParameter needs choices of type {var_type.__name__}, "
                f"got {shown(strangers or self.choices)}",
                hint="give choices=[...] and var_type=..., all of one type",
            )
        self.what = "one of " + ", ".join(str(choice) for choice in self.choices)
        self.description = f"{self.description or ''} Choices: {self.what[7:]}".strip()

    def parse(self, text: str) -> Any:
        try:
            value = self.var_type(text)
        except (ValueError, TypeError):
            raise self._refuse(text) from None
        return value

    def normalize(self, value: Any) -> Any:
        if value not in self.choices:
            raise self._refuse(value)
        # The declared object: 1 is found among [True], and 1.0 among [1], but is written otherwise.
        return self.choices[self.choices.index(value)]

    def _refuse(self, value: Any) -> ValueError:
        near = suggestion(str(value)[:100], [str(choice) for choice in self.choices])
        return ValueError(f"{shown(value)} is not {self.what}.{near}")


class EnumParameter(Parameter[Any]):
    """A member of an ``enum.Enum``, by its name."""

    exact_type = None

    def __init__(self, default: Any = NO_VALUE, *, enum: type[enum.Enum], **options: Any) -> None:
        super().__init__(default, **options)
        self.enum = enum
        self.what = "one of " + ", ".join(enum.__members__)

    def parse(self, text: str) -> Any:
        member = self.enum.__members__.get(text)
        if member is None:
            near = suggestion(text[:100], list(self.enum.__members__))
            raise ValueError(f"{shown(text)} is not {self.what}.{near}")
        return member

    def serialize(self, value: Any) -> str:
        return str(value.name)

    def normalize(self, value: Any) -> Any:
        if isinstance(value, self.enum):
            return value
        if isinstance(value, str):
            return self.parse(value)
        raise self.reject(value)
