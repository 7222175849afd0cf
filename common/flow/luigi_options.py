"""What programs and command lines written for Luigi pass to ``build`` and ``run``.

Everything runs on this machine and no lock file is taken, so most of it means nothing here; it is
accepted, so that such a program runs as it is.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Final

from flow.cli.taskline import Option
from flow.errors import UsageError
from flow.parameters.errors import suggestion

#: Keyword or flag without effect -> the text after the flag; empty: it takes none.
WITHOUT_EFFECT: Final = {
    "no_lock": "",
    "take_lock": "",
    "lock_size": "N",
    "lock_pid_dir": "DIR",
    "log_level": "LEVEL",
    "logging_conf_file": "FILE",
    "parallel_scheduling": "",
    "parallel_scheduling_processes": "N",
    "assistant": "",
    "worker_scheduler_factory": "",
    "use_dynamic_argparse": "",
    "module": "MODULE",
    "help": "",
    "help_all": "",
    "override_defaults": "",
}
#: They name a scheduler to talk to; here none is.
REMOTE: Final = {"scheduler_host": "HOST", "scheduler_port": "PORT", "scheduler_url": "URL"}
#: Those that Luigi's command line has, and flow's has not.
_FLAGS: Final = (
    *("no_lock", "take_lock", "lock_size", "lock_pid_dir", "log_level", "logging_conf_file"),
    *("parallel_scheduling", "parallel_scheduling_processes", "assistant", *REMOTE),
)


def check(
    where: str, keywords: Mapping[str, Any], known: Iterable[str], *, local: bool | None
) -> None:
    """Refuse keywords that neither flow nor Luigi knows, and a scheduler somewhere else.

    Raises:
        TypeError: A keyword is unknown.
        UsageError: It names a scheduler, and not ``local_scheduler=True``: the tasks would run on
            a machine where nobody wants them.
    """
    allowed = (*known, *WITHOUT_EFFECT, *REMOTE)
    for name in keywords:
        if name not in allowed:
            near = suggestion(name, allowed)
            raise TypeError(f"{where}() got an unexpected keyword argument {name!r}.{near}")
    remote = [name for name in REMOTE if keywords.get(name)]
    if remote and not local:
        raise UsageError(
            f"{where}({remote[0]}={keywords[remote[0]]!r:.100}): it runs tasks on this machine",
            hint="to use a coordinator: flow submit; to run here: local_scheduler=True",
        )
    if local is False:
        warnings.warn(
            f"{where}(local_scheduler=False): it runs on this machine; to use a coordinator: "
            "flow submit",
            UserWarning,
            stacklevel=3,
        )


def flags() -> tuple[Option, ...]:
    """Return the flags of Luigi's command line that have no effect here."""
    names = {**WITHOUT_EFFECT, **REMOTE}
    return tuple(
        Option(
            (f"--{name.replace('_', '-')}",),
            "of Luigi, without effect",
            str if names[name] else None,
            names[name],
        )
        for name in _FLAGS
    )


def drop(options: dict[str, Any]) -> None:
    """Forget the flags that have no effect."""
    for name in ("local_scheduler", *_FLAGS):
        options.pop(name, None)
