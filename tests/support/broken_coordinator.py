"""``flow-coordinator`` with a bug: it grants again what a worker has just started."""

from __future__ import annotations

import sys

from flow_coordinator import cli
from flow_coordinator.core import leases, tally
from flow_coordinator.core.records import LeaseRecord
from flow_coordinator.core.state import State
from flow_coordinator.core.transitions import TaskEvent

confirm = leases.confirm


def confirm_and_grant_again(s: State, lease: LeaseRecord) -> None:
    """Break the rule that a task has one lease."""
    confirm(s, lease)
    tally.move(s, lease.task, TaskEvent.GRANT)


if __name__ == "__main__":
    leases.confirm = confirm_and_grant_again
    sys.exit(cli.main())
