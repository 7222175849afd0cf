"""flow: Luigi-style pipelines on a laptop and across many hosts.

A pipeline is made of tasks::

    import flow

    class Words(flow.Task):
        date = flow.DateParameter()

        def output(self):
            return flow.LocalTarget(f"words-{self.date}.txt")

        def run(self):
            with self.output().open("w") as out:
                out.write("hello")

    if __name__ == "__main__":
        flow.run()

``requires()`` returns the tasks that come first, ``input()`` their targets. ``flow.run()`` reads
the command line; ``flow.build([Words(...)])`` runs tasks from a program; ``flow submit`` sends them
to a coordinator. Names are imported when first used, so ``import flow`` costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flow.lazy import member, submodule

#: Public name -> module that defines it.
_HOMES = {
    "Task": "task",
    "ExternalTask": "task",
    "WrapperTask": "task",
    "Config": "task",
    "MixinNaiveBulkComplete": "task",
    "externalize": "task",
    "namespace": "task",
    "auto_namespace": "task",
    "flatten": "task",
    "getpaths": "task",
    "flatten_output": "task",
    "inherits": "patterns.inheritance",
    "requires": "patterns.inheritance",
    "common_params": "patterns.inheritance",
    "copies": "patterns.delegation",
    "delegates": "patterns.delegation",
    "previous": "patterns.previous",
    "RangeByMinutes": "patterns.calendar_ranges",
    "RangeByMinutesBase": "patterns.calendar_ranges",
    "RangeDaily": "patterns.calendar_ranges",
    "RangeDailyBase": "patterns.calendar_ranges",
    "RangeHourly": "patterns.calendar_ranges",
    "RangeHourlyBase": "patterns.calendar_ranges",
    "RangeMonthly": "patterns.calendar_ranges",
    "RangeBase": "patterns.ranges",
    "RangeEvent": "patterns.ranges",
    "ExternalProgramTask": "patterns.programs",
    "ExternalPythonProgramTask": "patterns.programs",
    "ExternalProgramRunError": "patterns.programs",
    "get_previous_completed": "patterns.previous",
    "DynamicRequirements": "dynamic",
    "Event": "events",
    "ParameterVisibility": "parameters.base",
    "Parameter": "parameters.base",
    "StrParameter": "parameters.scalar",
    "IntParameter": "parameters.scalar",
    "FloatParameter": "parameters.scalar",
    "BoolParameter": "parameters.scalar",
    "PathParameter": "parameters.scalar",
    "OptionalParameter": "parameters.scalar",
    "OptionalStrParameter": "parameters.scalar",
    "OptionalIntParameter": "parameters.scalar",
    "OptionalFloatParameter": "parameters.scalar",
    "OptionalBoolParameter": "parameters.scalar",
    "DateParameter": "parameters.temporal",
    "OptionalDateParameter": "parameters.temporal",
    "MonthParameter": "parameters.temporal",
    "YearParameter": "parameters.temporal",
    "DateHourParameter": "parameters.temporal",
    "DateMinuteParameter": "parameters.temporal",
    "DateSecondParameter": "parameters.temporal",
    "TimeDeltaParameter": "parameters.duration",
    "DateIntervalParameter": "parameters.interval",
    "ListParameter": "parameters.container",
    "TupleParameter": "parameters.container",
    "DictParameter": "parameters.container",
    "ChoiceParameter": "parameters.choice",
    "EnumParameter": "parameters.choice",
    "Artifact": "artifacts.artifact",
    "OptionalParameterTypeWarning": "parameters.optional",
    "TaskInstanceParameter": "parameters.task",
    "TaskParameter": "parameters.task",
    "EnumListParameter": "parameters.choice",
    "ChoiceListParameter": "parameters.choice",
    "OptionalChoiceParameter": "parameters.choice",
    "OptionalDictParameter": "parameters.container",
    "OptionalTupleParameter": "parameters.container",
    "OptionalListParameter": "parameters.container",
    "OptionalPathParameter": "parameters.scalar",
    "OptionalNumericalParameter": "parameters.number",
    "NumericalParameter": "parameters.number",
    "Target": "targets.base",
    "LocalTarget": "targets.local",
    "run": "local.embedded",
    "build": "local.embedded",
    "RunResult": "local.results",
    "StatusCode": "client.summary",
    "LuigiStatusCode": "client.summary",
}

#: Modules that are attributes without having been imported, as Luigi's are.
_MODULES = frozenset(
    {
        "cmdline",
        "configuration",
        "contrib",
        "date_interval",
        "event",
        "events",
        "execution_summary",
        "format",
        "freezing",
        "interface",
        "local_target",
        "mock",
        "parameter",
        "parameters",
        "registry",
        "retcodes",
        "target",
        "task",
        "task_register",
        "tools",
        "util",
    }
)

if TYPE_CHECKING:
    from flow import cmdline as cmdline
    from flow import configuration as configuration
    from flow import contrib as contrib
    from flow import date_interval as date_interval
    from flow import event as event
    from flow import events as events
    from flow import execution_summary as execution_summary
    from flow import format as format
    from flow import freezing as freezing
    from flow import interface as interface
    from flow import local_target as local_target
    from flow import mock as mock
    from flow import parameter as parameter
    from flow import parameters as parameters
    from flow import registry as registry
    from flow import retcodes as retcodes
    from flow import target as target
    from flow import task as task
    from flow import task_register as task_register
    from flow import tools as tools
    from flow import util as util
    from flow.artifacts.artifact import Artifact as Artifact
    from flow.client.summary import LuigiStatusCode as LuigiStatusCode
    from flow.client.summary import StatusCode as StatusCode
    from flow.dynamic import DynamicRequirements as DynamicRequirements
    from flow.events import Event as Event
    from flow.local.embedded import build as build
    from flow.local.embedded import run as run
    from flow.local.results import RunResult as RunResult
    from flow.parameters import *  # noqa: F403
    from flow.patterns.calendar_ranges import RangeByMinutes as RangeByMinutes
    from flow.patterns.calendar_ranges import RangeByMinutesBase as RangeByMinutesBase
    from flow.patterns.calendar_ranges import RangeDaily as RangeDaily
    from flow.patterns.calendar_ranges import RangeDailyBase as RangeDailyBase
    from flow.patterns.calendar_ranges import RangeHourly as RangeHourly
    from flow.patterns.calendar_ranges import RangeHourlyBase as RangeHourlyBase
    from flow.patterns.calendar_ranges import RangeMonthly as RangeMonthly
    from flow.patterns.delegation import copies as copies
    from flow.patterns.delegation import delegates as delegates
    from flow.patterns.inheritance import common_params as common_params
    from flow.patterns.inheritance import inherits as inherits
    from flow.patterns.inheritance import requires as requires
    from flow.patterns.previous import get_previous_completed as get_previous_completed
    from flow.patterns.previous import previous as previous
    from flow.patterns.programs import ExternalProgramRunError as ExternalProgramRunError
    from flow.patterns.programs import ExternalProgramTask as ExternalProgramTask
    from flow.patterns.programs import ExternalPythonProgramTask as ExternalPythonProgramTask
    from flow.patterns.ranges import RangeBase as RangeBase
    from flow.patterns.ranges import RangeEvent as RangeEvent
    from flow.targets.base import Target as Target
    from flow.targets.local import LocalTarget as LocalTarget
    from flow.task import Config as Config
    from flow.task import ExternalTask as ExternalTask
    from flow.task import MixinNaiveBulkComplete as MixinNaiveBulkComplete
    from flow.task import Task as Task
    from flow.task import WrapperTask as WrapperTask
    from flow.task import auto_namespace as auto_namespace
    from flow.task import externalize as externalize
    from flow.task import flatten as flatten
    from flow.task import flatten_output as flatten_output
    from flow.task import getpaths as getpaths
    from flow.task import namespace as namespace

__version__ = "0.1.0"
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return submodule("flow", name)
    return member("flow", _HOMES, name, globals())


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
