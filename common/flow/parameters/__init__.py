"""The kinds of parameters a task may have.

``base`` says what a parameter is, ``signature`` what a class with parameters is, ``errors`` what
can be wrong, ``defaults`` where values come from; every other module holds one group of kinds, and
only ``task`` knows tasks. Nothing here knows messages. Kinds are imported when first used.

A value comes from the first of: the constructor (for the root task, its own ``--param``),
``--Family-param`` of the command line, ``[task.Family]`` of flow's settings, ``[Family]`` of
luigi's configuration files, ``config_path``, ``default``. Wherever it comes from, it is checked.

Type checkers know what a task holds (``task.date`` is a ``datetime.date``). They know the keywords
of its constructor where parameters are annotated, as in ``date: flow.DateParameter =
flow.DateParameter()``; mypy also without, with ``plugins = ["flow.mypy"]``. Where the kinds of
values that are read and given differ, a checker sees both: a ``PathParameter`` takes text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flow.lazy import member

#: Public name -> module of this package that defines it.
_HOMES = {
    "Parameter": "base",
    "ParameterVisibility": "base",
    "StrParameter": "scalar",
    "IntParameter": "scalar",
    "FloatParameter": "scalar",
    "BoolParameter": "scalar",
    "PathParameter": "scalar",
    "OptionalParameter": "scalar",
    "OptionalStrParameter": "scalar",
    "OptionalIntParameter": "scalar",
    "OptionalFloatParameter": "scalar",
    "OptionalBoolParameter": "scalar",
    "DateParameter": "temporal",
    "OptionalDateParameter": "temporal",
    "MonthParameter": "temporal",
    "YearParameter": "temporal",
    "DateHourParameter": "temporal",
    "DateMinuteParameter": "temporal",
    "DateSecondParameter": "temporal",
    "TimeDeltaParameter": "duration",
    "DateIntervalParameter": "interval",
    "ListParameter": "container",
    "TupleParameter": "container",
    "DictParameter": "container",
    "ChoiceParameter": "choice",
    "EnumParameter": "choice",
    "NumericalParameter": "number",
    "OptionalNumericalParameter": "number",
    "OptionalPathParameter": "scalar",
    "OptionalListParameter": "container",
    "OptionalTupleParameter": "container",
    "OptionalDictParameter": "container",
    "OptionalChoiceParameter": "choice",
    "ChoiceListParameter": "choice",
    "EnumListParameter": "choice",
    "TaskParameter": "task",
    "TaskInstanceParameter": "task",
    "OptionalParameterTypeWarning": "optional",
    "UnconsumedParameterWarning": "errors",
    "ParameterError": "errors",
    "MissingParameter": "errors",
    "UnknownParameter": "errors",
    "DuplicateParameter": "errors",
    "BadParameter": "errors",
    "BadDeclaration": "errors",
    "ParameterException": "errors",
    "MissingParameterException": "errors",
    "UnknownParameterException": "errors",
    "DuplicateParameterException": "errors",
}

if TYPE_CHECKING:
    from flow.parameters.base import Parameter, ParameterVisibility
    from flow.parameters.choice import (
        ChoiceListParameter,
        ChoiceParameter,
        EnumListParameter,
        EnumParameter,
        OptionalChoiceParameter,
    )
    from flow.parameters.container import (
        DictParameter,
        ListParameter,
        OptionalDictParameter,
        OptionalListParameter,
        OptionalTupleParameter,
        TupleParameter,
    )
    from flow.parameters.duration import TimeDeltaParameter
    from flow.parameters.errors import (
        BadDeclaration,
        BadParameter,
        DuplicateParameter,
        DuplicateParameterException,
        MissingParameter,
        MissingParameterException,
        ParameterError,
        ParameterException,
        UnconsumedParameterWarning,
        UnknownParameter,
        UnknownParameterException,
    )
    from flow.parameters.interval import DateIntervalParameter
    from flow.parameters.number import NumericalParameter, OptionalNumericalParameter
    from flow.parameters.optional import OptionalParameterTypeWarning
    from flow.parameters.scalar import (
        BoolParameter,
        FloatParameter,
        IntParameter,
        OptionalBoolParameter,
        OptionalFloatParameter,
        OptionalIntParameter,
        OptionalParameter,
        OptionalPathParameter,
        OptionalStrParameter,
        PathParameter,
        StrParameter,
    )
    from flow.parameters.task import TaskInstanceParameter, TaskParameter
    from flow.parameters.temporal import (
        DateHourParameter,
        DateMinuteParameter,
        DateParameter,
        DateSecondParameter,
        MonthParameter,
        OptionalDateParameter,
        YearParameter,
    )

__all__ = [
    "BadDeclaration",
    "BadParameter",
    "BoolParameter",
    "ChoiceListParameter",
    "ChoiceParameter",
    "DateHourParameter",
    "DateIntervalParameter",
    "DateMinuteParameter",
    "DateParameter",
    "DateSecondParameter",
    "DictParameter",
    "DuplicateParameter",
    "DuplicateParameterException",
    "EnumListParameter",
    "EnumParameter",
    "FloatParameter",
    "IntParameter",
    "ListParameter",
    "MissingParameter",
    "MissingParameterException",
    "MonthParameter",
    "NumericalParameter",
    "OptionalBoolParameter",
    "OptionalChoiceParameter",
    "OptionalDateParameter",
    "OptionalDictParameter",
    "OptionalFloatParameter",
    "OptionalIntParameter",
    "OptionalListParameter",
    "OptionalNumericalParameter",
    "OptionalParameter",
    "OptionalParameterTypeWarning",
    "OptionalPathParameter",
    "OptionalStrParameter",
    "OptionalTupleParameter",
    "Parameter",
    "ParameterError",
    "ParameterException",
    "ParameterVisibility",
    "PathParameter",
    "StrParameter",
    "TaskInstanceParameter",
    "TaskParameter",
    "TimeDeltaParameter",
    "TupleParameter",
    "UnconsumedParameterWarning",
    "UnknownParameter",
    "UnknownParameterException",
    "YearParameter",
]


def __getattr__(name: str) -> Any:
    return member(__name__, _HOMES, name, globals())
