"""What programs and command lines written for Luigi pass to ``build`` and ``run``.

Everything runs on this machine and no lock file is taken, so much of it means nothing here; it is
accepted, so that such a program runs as it is. What the flags mean is in
``flow.settings.luigi_flags``.
"""

from __future__ import annotations

import contextlib
import math
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from flow.errors import UsageError
from flow.parameters import defaults
from flow.parameters.errors import suggestion
from flow.settings.layers import PREFIX, SEPARATOR
from flow.settings.luigi_flags import CORE, flags
from flow.settings.taskline import Option, one_of

#: Keywords of Luigi's that have no effect, besides the flags of its that have none.
_WITHOUT_EFFECT: Final = (
    *("worker_scheduler_factory", "use_dynamic_argparse", "help", "override_defaults"),
)
#: They name a scheduler to talk to; here none is.
_REMOTE: Final = ("scheduler_host", "scheduler_port", "scheduler_url")
_LEVELS: Final = ("NOTSET", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def check(
    where: str, keywords: Mapping[str, Any], known: Iterable[str], *, local: bool | None
) -> None:
    """Refuse keywords that neither flow nor Luigi knows, and a scheduler somewhere else.

    Raises:
        TypeError: A keyword is unknown.
        UsageError: It names a scheduler, and not ``local_scheduler=True``: the tasks would run on
            a machine where nobody wants them.
    """
    allowed = (*known, *_WITHOUT_EFFECT, *CORE)
    for name in keywords:
        if name not in allowed:
            near = suggestion(name, allowed)
            raise TypeError(f"{where}() got an unexpected keyword argument {name!r}.{near}")
    remote = [name for name in _REMOTE if keywords.get(name)]
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


def settings_given(where: str, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of Luigi's keywords that are settings here, for ``obeyed``.

    Raises:
        UsageError: A value is none of those it may be.
    """
    given: dict[str, Any] = {}
    for name, flag in CORE.items():
        value = keywords.get(name)
        if not flag.setting or value is None:
            continue
        read = _reader(name, flag.metavar)
        try:
            given[name] = read(str(value)) if read else value
        except ValueError as error:
            raise UsageError(f"{where}({name}={value!r:.100}): {error}") from None
    return given


def options(without: Collection[str] = ()) -> tuple[Option, ...]:
    """Return the flags of Luigi's command line, but for those that a task needs for itself."""
    return tuple(
        Option(
            (f"--{name.replace('_', '-')}",),
            flag.setting or flag.why,
            _reader(name, flag.metavar),
            flag.metavar,
        )
        for name, flag in flags().items()
        if name not in without
    )


def _reader(name: str, metavar: str) -> Callable[[str], Any] | None:
    if name == "log_level":
        return _level
    return {"": None, "N": _whole, "SECONDS": _seconds}.get(metavar, str)


def _level(text: str) -> str:
    one_of(*_LEVELS)(text.upper())
    return text.lower() if text.upper() != "NOTSET" else "debug"


def _whole(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError("must not be negative")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise ValueError("is no number of seconds")
    return number


def sections_given(given: Mapping[str, Any]) -> dict[str, str]:
    """Return what flags of Luigi's sections say, as ``--Family-param`` says it to tasks."""
    return {
        name: _text(value) for name, value in given.items() if name in flags() and name not in CORE
    }


@contextlib.contextmanager
def obeyed(given: dict[str, Any]) -> Iterator[None]:
    """Take Luigi's flags out of the options, and have what they say hold in the block.

    It holds as settings from the environment do, for this process and those it starts. Of what has
    no effect here a line on stderr says why, unless nobody wants to read it.
    """
    known = flags()
    taken = {name: given.pop(name) for name in list(given) if name in known}
    before: dict[str, str | None] = {}
    for name, value in taken.items():
        section, _, key = known[name].setting.partition(".")
        if key:
            variable = f"{PREFIX}{section.upper()}{SEPARATOR}{key.upper()}"
            before[variable] = os.environ.get(variable)
            os.environ[variable] = _text(value)
    if not (given.get("quiet") or given.get("json")):
        _tell(taken)
    defaults.settings.cache_clear()
    try:
        yield
    finally:
        for variable, text in before.items():
            os.environ.pop(variable, None)
            if text is not None:
                os.environ[variable] = text
        defaults.settings.cache_clear()


def _tell(taken: Mapping[str, Any]) -> None:
    """Say why flags have no effect; not of those that nobody needs to know."""
    known = flags()
    for name in taken:
        silent = name in CORE and (name not in _REMOTE or "local_scheduler" in taken)
        if not known[name].setting and not silent:
            flag = f"--{name.replace('_', '-')}"
            print(f"{flag} has no effect: {known[name].why}", file=sys.stderr, flush=True)


def _text(value: Any) -> str:
    return "true" if value is True else str(value)
