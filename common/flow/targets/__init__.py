"""Where results are: a target says whether it exists, and how it is read and written.

``base`` has what all targets share, ``local`` files of this host (written atomically), ``formats``
how bytes become text, ``remote`` files in stores on other hosts, ``mock`` targets for tests,
``sql`` and ``redis`` what is in databases. Their names are imported from here when first used.
Nothing here knows messages.
"""

from __future__ import annotations

import importlib
from typing import Any

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


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'flow.targets' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"flow.targets.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
