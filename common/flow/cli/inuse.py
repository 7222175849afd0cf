"""Whether unfinished runs have certain tasks: asked of every coordinator that is near."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from flow.errors import ExitCode, FlowError, Unreachable

if TYPE_CHECKING:
    from flow.artifacts.cleaning import Removal

#: For a coordinator that the settings do not name, but which may be there.
ASK_TIMEOUT_S = 1.0
#: Tasks of one family that are looked through.
LISTED_MAX = 100_000


class InUse(FlowError):
    """An unfinished run has a task whose output should go."""

    exit_code = ExitCode.ALREADY_RUNNING


def refuse_used(removals: list[Removal], coordinator: str | None) -> None:
    """Raise ``InUse`` if an unfinished run has one of these tasks.

    Raises:
        Unreachable: A coordinator that the settings or the flag name does not answer.
    """
    from flow.client.address import explain_unreachable, find

    if coordinator == "none":
        return
    address = find(coordinator)
    is_chosen = coordinator is not None or address.source != "the default"
    for place in _embedded():
        try:
            _ask(place, removals, ASK_TIMEOUT_S)
        except Unreachable:
            continue  # it ended just now
    try:
        _ask(address.text, removals, 0.0 if is_chosen else ASK_TIMEOUT_S)
    except Unreachable as error:
        if is_chosen:
            explained = explain_unreachable(error, address)
            explained.hint += "\nOr do not ask:       --coordinator none"
            raise explained from None


def _embedded() -> Iterator[str]:
    """Name the sockets of the ``flow run`` processes of this user."""
    import glob
    import os

    from flow.local.children import private_bases

    for base in private_bases():
        for socket in glob.glob(os.path.join(glob.escape(base), "*", "c")):
            yield f"ipc://{socket}"


def _ask(address: str, removals: list[Removal], timeout_s: float) -> None:
    from flow.client.client import CONNECT_TIMEOUT_S, Client
    from flow.wire.messages.client import ListTasks, Tasks

    ids = {each.task_id: each.task for each in removals if each.task_id}
    families = {each.task.partition("(")[0]: not each.task_id for each in removals}
    with Client(address, connect_timeout_s=timeout_s or CONNECT_TIMEOUT_S) as client:
        for family, is_whole in families.items():
            try:
                listed = client.ask(ListTasks(0, family, limit=LISTED_MAX), Tasks)
            except Unreachable:
                raise
            except FlowError:
                continue  # it knows no such task
            for row in listed.tasks:
                if row.task_id in ids or (is_whole and row.task.partition("(")[0] == family):
                    raise InUse(
                        f"{row.task} is {row.state} in an unfinished run of {address}",
                        hint=f"wait until the run has ended, or: flow cancel {row.task_id}",
                    )
            if listed.more:
                raise InUse(
                    f"{address} has too many unfinished tasks {family} to look through",
                    hint="wait until their runs have ended",
                )
