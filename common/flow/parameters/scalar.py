"""Parameters that hold one plain value: text, numbers, truth, a path, and their optional forms."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

from flow.parameters.base import NO_VALUE, Parameter, T
from flow.parameters.errors import shown


class StrParameter(Parameter[str]):
    """Text; other values are written with ``str()``."""

    def normalize(self, value: Any) -> str:
        if value is None:
            raise self.reject(value)
        return str(value)


class IntParameter(Parameter[int]):
    """A whole number. Text is read, a float is refused."""

    what = "a whole number"
    exact_type = int

    def parse(self, text: str) -> int:
        try:
            return int(text)
        except (ValueError, TypeError):
            raise self.reject(text) from None

    def normalize(self, value: Any) -> int:
        if isinstance(value, str):
            return self.parse(value)
        try:
            # int(index()) also turns numpy's integers and bool into what another process will read.
            return int(operator.index(value))
        except TypeError:
            raise self.reject(value) from None

    def next_in_enumeration(self, value: int) -> int:
        return value + 1


class FloatParameter(Parameter[float]):
    """A number with a fraction. Whole numbers become floats, so that 1 and 1.0 are one task."""

    what = "a number"
    exact_type = float

    def parse(self, text: str) -> float:
        try:
            return float(text)
        except (ValueError, TypeError):
            raise self.reject(text) from None

    def normalize(self, value: Any) -> float:
        return self.parse(value)


class BoolParameter(Parameter[bool]):
    """True or false; false unless a default says otherwise.

    ``parsing`` tells the command line whether ``--name`` alone means true (``IMPLICIT_PARSING``) or
    a value may follow (``EXPLICIT_PARSING``).
    """

    IMPLICIT_PARSING = "implicit"
    EXPLICIT_PARSING = "explicit"
    #: For all that are declared without it.
    parsing = IMPLICIT_PARSING

    what = "true or false"
    exact_type = bool

    def __init__(self, default: Any = False, *, parsing: str | None = None, **options: Any) -> None:
        super().__init__(False if default is NO_VALUE else default, **options)
        if parsing is not None:
            self.parsing = parsing

    def parse(self, text: str) -> bool:
        word = str(text).strip().lower()
        if word == "true":
            return True
        if word == "false":
            return False
        raise self.reject(text)

    def normalize(self, value: Any) -> bool:
        if isinstance(value, bool):
            return value
        return self.parse(value)


class PathParameter(Parameter[Path]):
    """A path of the file system, as ``pathlib.Path``.

    Args:
        absolute: Make it absolute, against the current directory of whoever makes the task.
        exists: Refuse a path that does not exist.
    """

    what = "a path"
    exact_type = None

    def __init__(
        self,
        default: Any = NO_VALUE,
        *,
        absolute: bool = False,
        exists: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(default, **options)
        self.absolute = absolute
        self.exists = exists

    def parse(self, text: str) -> Path:
        return Path(text)

    def normalize(self, value: Any) -> Path:
        try:
            path = Path(value)
        except TypeError:
            raise self.reject(value) from None
        if self.absolute:
            path = path.absolute()
        if self.exists and not path.exists():
            raise ValueError(f"{shown(str(path))} does not exist")
        return path


class OptionalMixin(Parameter[T]):
    """Adds "or nothing" to a parameter: ``None`` in code, the empty string as text."""

    def __init__(self, default: Any = None, **options: Any) -> None:
        super().__init__(default, **options)

    def parse(self, text: str) -> Any:
        return super().parse(text) if text else None

    def serialize(self, value: Any) -> str:
        return "" if value is None else super().serialize(value)

    def normalize(self, value: Any) -> Any:
        return None if value is None else super().normalize(value)

    def read(self, text: str) -> Any:
        return self.normalize(self.parse(text))

    def next_in_enumeration(self, value: Any) -> Any:
        return None if value is None else super().next_in_enumeration(value)


class OptionalParameter(OptionalMixin["str | None"]):
    """Text or nothing."""

    what = "a string or None"

    def normalize(self, value: Any) -> Any:
        return value if value is None else str(value)


class OptionalStrParameter(OptionalParameter):
    """Text or nothing."""


class OptionalIntParameter(OptionalMixin["int | None"], IntParameter):
    """A whole number or nothing."""


class OptionalFloatParameter(OptionalMixin["float | None"], FloatParameter):
    """A number or nothing."""


class OptionalBoolParameter(OptionalMixin["bool | None"], BoolParameter):
    """True, false or nothing."""

    def __init__(self, default: Any = None, *, parsing: str | None = None, **options: Any) -> None:
        Parameter.__init__(self, default, **options)
        self.parsing = parsing or self.EXPLICIT_PARSING
