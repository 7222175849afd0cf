"""Parameters that hold one plain value: text, numbers, truth, a path, and their optional forms."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flow.parameters.base import NO_VALUE, NoValue, Parameter
from flow.parameters.errors import BadDeclaration, shown
from flow.parameters.optional import OptionalMixin

if TYPE_CHECKING:
    from typing import Unpack

    from flow.parameters.base import Options


def whole(value: Any) -> int | None:
    """Return a whole number given in code as ``int``; None for what is none."""
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    try:
        # int(index()) also turns numpy's integers and bool into what another process will read.
        return int(operator.index(value))
    except TypeError:
        return None


class StrParameter(Parameter[str]):
    """Text; other values are written with ``str()``."""

    exact_type = str
    ambiguous = False

    def normalize(self, value: Any) -> str:
        if value is None:
            raise self.reject(value)
        return str(value)


class IntParameter(Parameter[int]):
    """A whole number. Text is read; a float is taken if it has no fraction."""

    what = "a whole number"
    exact_type = int
    ambiguous = False

    def parse(self, text: str) -> int:
        try:
            return int(text)
        except (ValueError, TypeError):
            raise self.reject(text) from None

    def normalize(self, value: Any) -> int:
        if isinstance(value, str):
            return self.parse(value)
        number = whole(value)
        if number is None:
            raise self.reject(value)
        return number

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

    Args:
        parsing: ``IMPLICIT_PARSING`` or ``EXPLICIT_PARSING``, as luigi has them. flow's command
            line reads both forms: ``--name`` alone means true, and a value may follow.
    """

    IMPLICIT_PARSING = "implicit"
    EXPLICIT_PARSING = "explicit"
    #: For all that are declared, from then on, without it.
    parsing = IMPLICIT_PARSING

    what = "true or false"
    exact_type = bool
    ambiguous = False

    def __init__(
        self,
        default: Any = False,
        *,
        parsing: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(False if default is NO_VALUE else default, **options)
        self.parsing = type(self).parsing if parsing is None else parsing
        if self.parsing not in (self.IMPLICIT_PARSING, self.EXPLICIT_PARSING):
            raise BadDeclaration(
                f"unknown parsing {shown(self.parsing)}",
                hint="use BoolParameter.IMPLICIT_PARSING or BoolParameter.EXPLICIT_PARSING",
            )

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


class PathParameter(Parameter[Path, "Path | str"]):
    """A path of the file system, as ``pathlib.Path``.

    Args:
        absolute: Make it absolute, against the current directory of whoever makes the task.
        exists: Refuse a path that does not exist.
    """

    what = "a path"
    exact_type = None
    ambiguous = False

    def __init__(
        self,
        default: Path | str | NoValue = NO_VALUE,
        *,
        absolute: bool = False,
        exists: bool = False,
        **options: Unpack[Options],
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


class OptionalParameter(OptionalMixin["str | None"], StrParameter):
    """Text or nothing."""

    what = "a string or None"
    expected_type = str


class OptionalStrParameter(OptionalMixin["str | None"], StrParameter):
    """Text or nothing."""

    what = "a string or None"
    expected_type = str


class OptionalIntParameter(OptionalMixin["int | None"], IntParameter):
    """A whole number or nothing."""

    expected_type = int


class OptionalFloatParameter(OptionalMixin["float | None"], FloatParameter):
    """A number or nothing."""

    expected_type = float


class OptionalBoolParameter(OptionalMixin["bool | None"], BoolParameter):
    """True, false or nothing."""

    def __init__(
        self,
        default: bool | None = None,
        *,
        parsing: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        BoolParameter.__init__(self, default, parsing=parsing, **options)


class OptionalPathParameter(OptionalMixin["Path | None", "Path | str | None"], PathParameter):
    """A path or nothing."""

    def __init__(
        self,
        default: Path | str | None = None,
        *,
        absolute: bool = False,
        exists: bool = False,
        **options: Unpack[Options],
    ) -> None:
        PathParameter.__init__(self, default, absolute=absolute, exists=exists, **options)  # type: ignore[arg-type]
