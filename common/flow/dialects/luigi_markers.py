"""The tables in which targets of ``luigi.contrib`` mark what is loaded, at their first use.

Each target creates its table when it needs it, and expects that nobody else does at that moment: of
the first loads that run at the same time one would fail, with a unique key or a table that is there
already. When it fails, the other has made it, so the second try finds it. ``postgres``, ``mysqldb``
and ``mssqldb`` create it when ``run()`` has loaded everything, so it is made before; ``sqla`` when
it is asked whether the load is complete, so it is asked again.
"""

from __future__ import annotations

import logging
import traceback
from typing import Any, Final

from flow.structure import flatten

#: How all of them call it.
_METHOD: Final = "create_marker_table"
_TRIES: Final = 2

logger = logging.getLogger("flow.targets")


def create(task: Any) -> None:
    """Create the table of each kind of output of a task that is about to run.

    What is wrong otherwise, ``run()`` tells: it creates the table as well.
    """
    try:
        outputs = flatten(task.output())
    except Exception as error:  # user code, which may have none before run()
        logger.debug("outputs of %s before run(): %s", type(task).__name__, error)
        return
    kinds: set[type] = set()
    for target in outputs:
        if hasattr(target, _METHOD) and type(target) not in kinds:
            kinds.add(type(target))
            _create(target)


def _create(target: Any) -> None:
    for _ in range(_TRIES):
        try:
            target.create_marker_table()
            return
        except Exception as error:  # drivers of databases, and targets of users
            logger.debug("table of markers of %s: %s", type(target).__name__, error)


def was_creating(error: BaseException) -> bool:
    """Tell whether an error comes from creating such a table."""
    frames = traceback.walk_tb(error.__traceback__)
    return any(frame.f_code.co_name == _METHOD for frame, _ in frames)
