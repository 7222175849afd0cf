"""Parameters that hold a number within bounds."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from flow.parameters.base import NO_VALUE, NoValue, Parameter, T
from flow.parameters.errors import BadDeclaration, shown
from flow.parameters.optional import OptionalMixin
from flow.parameters.scalar import whole

if TYPE_CHECKING:
    from typing import Unpack

    from flow.parameters.base import Options


class NumericalParameter(Parameter[T]):
    """A number of type ``var_type`` from ``min_value`` to below ``max_value``.

    Checked wherever the value comes from (luigi checks only what it reads from text).

    Args:
        var_type: ``int``, ``float``, or another type of numbers that is made from text.
        min_value: The lower bound.
        max_value: The upper bound.
        left_op: ``operator.lt`` excludes the lower bound.
        right_op: ``operator.le`` includes the upper bound.
    """

    exact_type = None

    def __init__(
        self,
        default: T | NoValue = NO_VALUE,
        *,
        var_type: type[T] | None = None,
        min_value: T | None = None,
        max_value: T | None = None,
        left_op: Callable[[Any, Any], bool] = operator.le,
        right_op: Callable[[Any, Any], bool] = operator.lt,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(default, **options)
        given = {"var_type": var_type, "min_value": min_value, "max_value": max_value}
        for name, value in given.items():
            if value is None:
                raise BadDeclaration(
                    f"{type(self).__name__} needs {name}",
                    hint=f"{type(self).__name__}(var_type=int, min_value=0, max_value=10)",
                )
        self.var_type: Any = var_type
        self.min_value, self.max_value = min_value, max_value
        self.left_op, self.right_op = left_op, right_op
        ends = "[" if left_op is operator.le else "(", ")" if right_op is operator.lt else "]"
        kind = getattr(var_type, "__name__", str(var_type))
        permitted = f"{kind} in {ends[0]}{min_value}, {max_value}{ends[1]}"
        self.what = permitted
        self.description = f"{self.description or ''} permitted values: {permitted}".strip()

    def parse(self, text: str) -> T:
        try:
            value = self.var_type(text)
        except (ValueError, TypeError, ArithmeticError):
            raise self._refuse(text) from None
        return self._bounded(value)

    def normalize(self, value: Any) -> T:
        if isinstance(value, str):
            return self.parse(value)
        if self.var_type is int:
            # int() alone would cut a fraction off.
            number = whole(value)
            if number is None:
                raise self._refuse(value)
            return self._bounded(number)
        return self._bounded(value) if type(value) is self.var_type else self.parse(value)

    def _bounded(self, value: Any) -> T:
        if self.left_op(self.min_value, value) and self.right_op(value, self.max_value):
            return value  # type: ignore[no-any-return]
        raise self._refuse(value)

    def _refuse(self, value: Any) -> ValueError:
        return ValueError(f"{shown(value)} is not {self.what}")


class OptionalNumericalParameter(OptionalMixin["T | None"], NumericalParameter[T]):
    """A number within bounds, or nothing. As in luigi it has no default of its own."""

    def __init__(
        self,
        default: T | NoValue | None = NO_VALUE,
        *,
        var_type: type[T] | None = None,
        min_value: T | None = None,
        max_value: T | None = None,
        left_op: Callable[[Any, Any], bool] = operator.le,
        right_op: Callable[[Any, Any], bool] = operator.lt,
        **options: Unpack[Options],
    ) -> None:
        NumericalParameter.__init__(  # type: ignore[misc]
            self,
            default,
            var_type=var_type,
            min_value=min_value,
            max_value=max_value,
            left_op=left_op,
            right_op=right_op,
            **options,
        )
        self.expected_type = self.var_type
