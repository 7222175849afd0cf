"""What every ``Optional...Parameter`` adds to its kind: the value may be ``None``."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from flow.parameters.base import FRAMES_TO_CALLER, Parameter, S, T
from flow.parameters.errors import plain

if TYPE_CHECKING:
    from typing import Unpack

    from flow.parameters.base import Options


class OptionalParameterTypeWarning(UserWarning):
    """A value of another type was given in code; the task has it converted."""


class OptionalMixin(Parameter[T, S]):
    """Adds "or nothing" to a parameter: ``None`` in code, the empty string as text.

    An empty string in code is nothing, too, as it would be for any other process.
    """

    #: Values of other types are converted, with a warning; empty: without one.
    expected_type: type | tuple[type, ...] = ()
    none_text = ""

    def __init__(self, default: Any = None, **options: Unpack[Options]) -> None:
        super().__init__(default, **options)

    def parse(self, text: Any) -> Any:
        nothing = isinstance(text, str) and not text
        return None if nothing else super().parse(text)

    def serialize(self, value: Any) -> str:
        return "" if value is None else super().serialize(value)

    def normalize(self, value: Any) -> Any:
        nothing = value is None or (isinstance(value, str) and not value)
        return None if nothing else super().normalize(value)

    def next_in_enumeration(self, value: Any) -> Any:
        return None

    def warn_of(self, family: str, name: str, value: Any) -> None:
        expected = self.expected_type
        if value is None or not expected or isinstance(value, expected):
            return
        kinds = expected if isinstance(expected, tuple) else (expected,)
        names = [each.__name__ for each in kinds]
        warnings.warn(
            f'{type(self).__name__} "{name}" with value "{plain(value)}" is not of type '
            f'"{" or ".join(names)}" or None. {family} has it converted',
            OptionalParameterTypeWarning,
            stacklevel=FRAMES_TO_CALLER,
        )
