"""How a run that a program started has ended, and what such a run has of its program."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from flow.errors import ExitCode

if TYPE_CHECKING:
    from flow.client.follow import Ended
    from flow.client.summary import StatusCode
    from flow.wire.messages.client import Failure, RunSummary

#: The module of tasks that only this process has.
MAIN = "__main__"


class RunResult:
    """How a build ended; true, and equal to True, where its tasks are complete.

    Luigi's ``LuigiRunResult``, and the bool it gives without ``detailed_summary``, in one.
    """

    __hash__ = object.__hash__

    def __init__(self, ended: Ended) -> None:
        self.exit_code = ExitCode(ended.code)
        self.summary: RunSummary | None = ended.summary
        self.failures: list[Failure] = ended.failures
        #: what a command exits with after it: ``exit_code`` unless ``[retcode]`` says otherwise
        self.retcode = ended.code

    def __bool__(self) -> bool:
        return self.exit_code is ExitCode.OK

    def __eq__(self, other: object) -> bool:
        return bool(self) is other if isinstance(other, bool) else self is other

    def __repr__(self) -> str:
        return f"RunResult({self.exit_code.name}: {self.one_line_summary})"

    @property
    def status(self) -> StatusCode:
        """How it looks, by Luigi's rules."""
        from flow.client.summary import StatusCode, status

        return status(self.summary) if self.summary else StatusCode.NOT_RUN

    @property
    def summary_text(self) -> str:
        """The whole execution summary."""
        from flow.client.summary import render

        return render(self.summary) if self.summary else self.one_line_summary

    @property
    def one_line_summary(self) -> str:
        """The last line of the summary."""
        from flow.client.summary import one_line

        return one_line(self.summary) if self.summary else f"The run was {self.exit_code.name}"

    @property
    def scheduling_succeeded(self) -> bool:
        """Whether every ``requires()`` and ``complete()`` returned."""
        from flow.client.summary import count_of
        from flow.wire.states import SummaryCategory

        return self.summary is not None and not count_of(
            self.summary, SummaryCategory.SCHEDULING_ERROR
        )

    @property
    def failed(self) -> list[str]:
        """The tasks that failed and were not done later, as ``Family(param=value)``."""
        from flow.client.summary import one_task
        from flow.wire.states import FAILED_CATEGORIES

        if not self.summary:
            return []
        return [
            one_task(example.family, params)
            for category in self.summary.categories
            if category.name in FAILED_CATEGORIES
            for example in category.examples
            for params in example.params
        ]


def search_path() -> list[str]:
    """What task processes need to import what this process can: its own additions, in order."""
    own = [os.path.abspath(each) for each in sys.path if os.path.isdir(each or ".")]
    installed = tuple(os.path.join(each, "") for each in (sys.prefix, sys.base_prefix))
    return [each for each in dict.fromkeys(own) if not each.startswith(installed)]
