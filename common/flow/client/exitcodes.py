"""What a command exits with, where ``[retcode]`` of the settings says something else than flow.

The names and their meaning are Luigi's; so is that of several that apply the greatest counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flow.client import summary as text
from flow.errors import ExitCode
from flow.wire.states import FAILED_CATEGORIES, SummaryCategory

if TYPE_CHECKING:
    from flow.wire.messages.client import RunSummary

#: Name in [retcode]: the categories of the summary in which it applies, and flow's own code.
_BY_CATEGORY: Final = {
    "missing_data": ((SummaryCategory.MISSING_EXTERNAL,), ExitCode.MISSING_DATA),
    "task_failed": (FAILED_CATEGORIES, ExitCode.TASK_FAILED),
    "scheduling_error": ((SummaryCategory.SCHEDULING_ERROR,), ExitCode.SCHEDULING_ERROR),
    "not_run": ((SummaryCategory.NOT_RUN,), ExitCode.NOT_RUN),
}


def exit_code(code: int, summary: RunSummary | None) -> int:
    """Return what a command exits with after a run that ended with a code of flow's.

    Raises:
        ConfigError: The settings cannot be read.
    """
    from flow.settings.sections import load

    configured: Any = load().retcode
    if code == ExitCode.INTERNAL and configured.unhandled_exception is not None:
        return int(configured.unhandled_exception)
    if code not in [own for _, own in _BY_CATEGORY.values()]:
        return int(code)
    theirs: list[int] = []
    silent: list[int] = []
    for name, (categories, own) in _BY_CATEGORY.items():
        if own == code or (summary is not None and text.count_of(summary, *categories)):
            said = getattr(configured, name)
            (silent if said is None else theirs).append(int(own if said is None else said))
    if not theirs:
        return int(code)
    # A zero is for that one thing; and what is left unrun for it is, as in Luigi, still not run.
    return max(theirs) or max(silent, default=0) or int(configured.not_run or ExitCode.OK)
