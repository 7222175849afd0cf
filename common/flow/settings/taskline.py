"""Read a command line that mixes flow's own options with the parameters of a task.

``MODULE TASK --workers 4 --date 2026-01-01``: names in the table of options are flow's, everything
else spelled ``--x-y value`` is the task's parameter ``x_y``. Where a parameter has the name of an
option, ``--TASK-name value`` or any place behind ``--`` reaches the task; an option of that name
behind TASK is refused where the task is made, for only there its parameters are known.

No click here: this is what stands between a key press and the start of the engine's processes.
"""

from __future__ import annotations

import difflib
import os.path
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from flow.errors import UsageError
from flow.visible import is_unicode
from flow.wire.names import BARE, TAKEN

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s?)?")
_UNITS_S = (86400, 3600, 60, 1)


class Option(NamedTuple):
    """One of flow's own options. ``read`` turns its text into a value; None: a flag."""

    names: tuple[str, ...]
    help: str
    read: Callable[[str], Any] | None = None
    metavar: str = ""
    key: str = ""  #: name of the value, if not the first name
    value: Any = True  #: of a flag that is given

    @property
    def dest(self) -> str:
        """The key of the value in ``TaskLine.options``."""
        return self.key or self.names[0].lstrip("-").replace("-", "_")


class TaskLine(NamedTuple):
    """What was typed."""

    module: str
    family: str
    params: dict[str, str]
    options: dict[str, Any]
    help: bool
    #: What may be meant for tasks of any family: ``Family_parameter`` -> text.
    qualified: dict[str, str] = {}
    #: Names of options behind TASK, and of parameters without a value behind them.
    taken: tuple[str, ...] = ()
    bare: tuple[str, ...] = ()

    @property
    def root(self) -> dict[str, str]:
        """The parameters as a planner reads them, with what it must look at."""
        found = dict(self.params)
        if self.taken:
            found[TAKEN] = " ".join(self.taken)
        if self.bare:
            found[BARE] = " ".join(self.bare)
        return found


def whole_number(text: str) -> int:
    """Read a number of things, at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError("must be at least 1")
    return number


def duration_s(text: str) -> float:
    """Read ``90``, ``90s``, ``30m``, ``2h``, ``1d12h`` as seconds."""
    match = _DURATION.fullmatch(text.strip())
    if not match or not any(match.groups()):
        raise ValueError("is not a duration, expected for example 90s, 30m, 2h or 1d12h")
    return sum(
        float(part) * unit for part, unit in zip(match.groups(), _UNITS_S, strict=True) if part
    )


def one_of(*choices: str) -> Callable[[str], str]:
    """Make a reader that accepts these words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return read


def module_name(text: str) -> str:
    """Spell a path to a script as a module that a worker can load; keep other names."""
    if text.endswith(".py") or os.path.sep in text:
        path = os.path.abspath(text)
        return f"file:{path}"
    return text


def parse(argv: Sequence[str], options: Sequence[Option], *, named: int = 2) -> TaskLine:
    """Read one command line. Raises ``UsageError``.

    Args:
        argv: The words after the command.
        options: The table of flow's own options.
        named: How many words without dashes may be given: MODULE TASK, or 1 for TASK alone.
    """
    for word in argv:
        if not is_unicode(word):
            raise UsageError(f"{word!r} is not valid UTF-8")
    table = {name: option for option in options for name in option.names}
    words: list[str] = []
    given: dict[str, str] = {}
    bare: set[str] = set()
    taken: list[str] = []
    values: dict[str, Any] = {}
    wants_help = ours = False
    rest = list(argv)
    ours = True
    while rest:
        word = rest.pop(0)
        if word == "--" and ours:
            ours = False
        elif ours and word in ("--help", "-h"):
            wants_help = True
        elif ours and word.partition("=")[0] in table:
            _read_option(word, rest, table, values)
            if len(words) == named and word.startswith("--"):
                taken.append(word[2:].partition("=")[0].replace("-", "_"))
        elif word.startswith("--"):
            name, value = _read_param(word, rest, table if ours else {})
            given[name] = "true" if value is None else value
            (bare.add if value is None else bare.discard)(name)
        elif word.startswith("-") and len(word) > 1 and not _is_number(word):
            raise UsageError(f"no such option: {word}", hint=_options_hint(word, table))
        else:
            words.append(word)
    if len(words) > named:
        raise UsageError(
            f"unexpected word {words[named]!r}: values of parameters are named",
            hint=f"write it as --parameter {words[named]}",
        )
    family = words[-1] if len(words) == named else ""
    module = words[0] if named > 1 and words else ""
    qualified = {name: text for name, text in given.items() if "_" in name}
    params = _own(given, family)
    without = _own(dict.fromkeys(bare, ""), family)
    return TaskLine(
        module_name(module),
        family,
        params,
        values,
        wants_help,
        qualified,
        tuple(name for name in taken if name not in params),
        tuple(sorted(without)),
    )


def _read_option(
    word: str, rest: list[str], table: dict[str, Option], values: dict[str, Any]
) -> None:
    name, equals, text = word.partition("=")
    option = table[name]
    if option.read is None:
        if equals:
            raise UsageError(f"{name} takes no value")
        values[option.dest] = option.value
        return
    if not equals:
        if not rest:
            raise UsageError(f"{name} needs a value: {name} {option.metavar}")
        text = rest.pop(0)
    try:
        values[option.dest] = option.read(text)
    except ValueError as e:
        reason = str(e)
        if reason.startswith(("invalid literal", "could not convert")):
            reason = "is not a number"
        raise UsageError(f"{name}: {text!r} {reason}") from None


def _read_param(word: str, rest: list[str], table: dict[str, Option]) -> tuple[str, str | None]:
    """Read a parameter; None: no value is behind it, as behind one that is true or false."""
    name, equals, text = word[2:].partition("=")
    if not name.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise UsageError(f"no such option: {word}")
    if not equals:
        bare = not rest or rest[0].startswith("--") or rest[0] in table
        return name.replace("-", "_"), None if bare else rest.pop(0)
    return name.replace("-", "_"), text


def _own(given: dict[str, str], family: str) -> dict[str, str]:
    """Accept ``--Family-x`` for the family itself, as Luigi does; ``--x`` beats it."""
    params: dict[str, str] = {}
    qualified: dict[str, str] = {}
    for name, text in given.items():
        for prefix in (f"{family}_", f"{family.replace('.', '_')}_"):
            if family and name.startswith(prefix) and name != prefix:
                qualified[name.removeprefix(prefix)] = text
                break
        else:
            params[name] = text
    return {**qualified, **params}


def _is_number(word: str) -> bool:
    return word[1:].replace(".", "", 1).isdigit()


def _options_hint(word: str, table: dict[str, Option]) -> str:
    close = difflib.get_close_matches(word, list(table), n=1)
    return f"did you mean {close[0]}?" if close else "parameters of the task begin with --"
