"""Where results are: a target says whether it exists, and how it is read and written.

``base`` has what all targets share, ``local`` files of this host (written atomically), ``formats``
how bytes become text, ``remote`` files in stores on other hosts, ``mock`` targets for tests,
``sql`` and ``redis`` what is in databases. Their names are imported from here when first used.
Nothing here knows messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flow.lazy import member

if TYPE_CHECKING:
    from flow.targets.anyway import RunAnywayTarget as RunAnywayTarget
    from flow.targets.local import LocalTarget as LocalTarget
    from flow.targets.mock import MockTarget as MockTarget
    from flow.targets.opening import open_target as open_target
    from flow.targets.redis import RedisTarget as RedisTarget
    from flow.targets.remote import RemoteTarget as RemoteTarget
    from flow.targets.sql import CopyToTable as CopyToTable
    from flow.targets.sql import SQLTarget as SQLTarget

#: Public name -> module that defines it.
_HOMES = {
    "LocalTarget": "local",
    "MockTarget": "mock",
    "RemoteTarget": "remote",
    "RunAnywayTarget": "anyway",
    "open_target": "opening",
    "CopyToTable": "sql",
    "SQLTarget": "sql",
    "RedisTarget": "redis",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    return member(__name__, _HOMES, name, globals())


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
