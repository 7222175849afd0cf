"""Errors about parameters, each naming the task, the parameter and what would be right.

ParameterError              UsageError, exit code 2
├── MissingParameter        no value and no default
├── UnknownParameter        the task has no such parameter
├── DuplicateParameter      one parameter given twice
├── BadParameter            a value that the parameter does not take (also a ValueError)
└── BadDeclaration          the parameter itself is declared wrongly
    └── BadChoices          choices of several types (also an AssertionError)

``parse()`` and ``normalize()`` raise ``ValueError``. Where Luigi raises something else for the same
input, what is raised is both: ``BadSyntax``, ``WrongKind``, and for a schema the error of
``jsonschema``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from flow.errors import UsageError
from flow.wire.states import PlanErrorKind

#: A rejected value is shown with at most this many characters.
SHOWN_CHARS_MAX: Final = 80
#: So many parameter names are listed in an error.
LISTED_NAMES_MAX: Final = 20


class ParameterError(UsageError):
    """A task was named with parameters that do not fit it."""

    kind = PlanErrorKind.BAD_PARAMETER


class MissingParameter(ParameterError):
    """A parameter without default got no value."""


class UnknownParameter(ParameterError):
    """A name, or a position, that is no parameter of the task."""


class DuplicateParameter(ParameterError):
    """A parameter got a value by position and by name."""


class BadParameter(ParameterError, ValueError):
    """A value which cannot be read, or is not of the parameter's kind."""

    #: ``path:line`` and name of the declaration, where that is all that can be pointed at
    where = ""


class BadDeclaration(ParameterError):
    """A parameter was declared with options that cannot work."""


class BadChoices(BadDeclaration, AssertionError):
    """Choices that are not of the type that was declared."""


class BadSyntax(ValueError, SyntaxError):
    """Text that is neither JSON nor a Python literal."""


class WrongKind(ValueError, TypeError):
    """Text that can be read, as something that is no list or no map."""


class UnconsumedParameterWarning(UserWarning):
    """Settings of a task name something that is no parameter of it."""


def shown(value: Any) -> str:
    """Spell a value for an error message: bounded, on one line, whatever the value is."""
    try:
        text = repr(value)
    except Exception as error:  # repr() of a user's object is user code
        text = f"<{type(value).__name__} whose repr() raises {type(error).__name__}>"
    if len(text) > SHOWN_CHARS_MAX:
        text = f"{text[:SHOWN_CHARS_MAX]}... ({len(text)} characters)"
    return text


def plain(value: Any) -> str:
    """Spell a value as ``shown``, a text without its quotes."""
    text = shown(value)
    return text[1:-1] if isinstance(value, str) and text[-1] == text[0] else text


def flag(name: str) -> str:
    """Spell a parameter's name as on the command line."""
    return "--" + name.replace("_", "-")


def suggestion(word: str, choices: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?``, or nothing when no choice is near."""
    import difflib  # only errors need it

    near = difflib.get_close_matches(word, list(choices), n=1, cutoff=0.6)
    return f" Did you mean {near[0]!r}?" if near else ""


def missing(family: str, name: str, what: str, type_name: str) -> MissingParameter:
    """Make the error for a parameter that has neither value nor default."""
    return MissingParameter(
        f"{family} {flag(name)}: no value given, and it has no default ({type_name}: {what})",
        hint=f"give {flag(name)} VALUE, or {name}=... in the constructor",
    )


def unknown(family: str, name: str, names: Sequence[str]) -> UnknownParameter:
    """Make the error for a name that is no parameter of the family."""
    from flow.settings.luigi_flags import explain  # only errors need it

    listed = ", ".join(names[:LISTED_NAMES_MAX]) or "none"
    return UnknownParameter(
        f"{family} has no parameter {shown(name)}.{suggestion(name, names)} "
        f"Its parameters: {listed}",
        hint=explain(name),
    )


def not_for_all(family: str, name: str, owner: str, param: str) -> UnknownParameter:
    """Make the error for a value for tasks of another family that was too long to be theirs."""
    return UnknownParameter(
        f"{family} has no parameter {shown(name)}, and the value is too long to be given to other "
        f"tasks ({owner} {flag(param)}): such values travel with every task of a run",
        hint=f"set {param} under [task.{owner}] in the settings of the workers, "
        f"give the path of a file, or make it a parameter of {family}",
    )


def check_taken(family: str, taken: Sequence[str], names: Sequence[str]) -> None:
    """Refuse options of a command behind TASK that are called as its parameters are."""
    both = [name for name in taken if name in names]
    if both:
        theirs = " ".join(f"{flag(f'{family}_{name}')} VALUE" for name in both)
        raise UnknownParameter(
            f"{', '.join(map(flag, both))}: options of the command have the names of parameters of "
            f"{family}",
            hint=f"for {family} write  {theirs}  and put options of the command before MODULE",
        )


def check_bare(
    family: str, bare: Sequence[str], names: Sequence[str], flags: Sequence[str]
) -> None:
    """Refuse a name without a value where only text behind it makes a value."""
    for name in bare:
        if name in names and name not in flags:
            raise BadParameter(f"{family} {flag(name)} needs a value: {flag(name)} VALUE")


def too_many(family: str, given: int, names: Sequence[str]) -> UnknownParameter:
    """Make the error for more positional values than parameters."""
    listed = ", ".join(names[:LISTED_NAMES_MAX]) or "none"
    return UnknownParameter(
        f"{family} takes at most {len(names)} positional parameters, got {given}. "
        f"In order: {listed}"
    )


def duplicate(family: str, name: str) -> DuplicateParameter:
    """Make the error for a parameter given twice."""
    return DuplicateParameter(f"{family} {flag(name)}: given both by position and by name")


def bad(family: str, name: str, reason: str, type_name: str, *, source: str = "") -> BadParameter:
    """Make the error for a value that does not fit; ``source`` says where it came from."""
    origin = f" from {source}" if source else ""
    return BadParameter(f"{family} {flag(name)}{origin}: {reason} ({type_name})")


def not_initialized(cls: type) -> BadParameter:
    """Make the error for a task whose constructor did not come as far as ``Task``'s own."""
    return BadParameter(f"{shown(cls)} is not initialized: did its __init__ forget super()?")


def not_unicode(family: str, name: str, text: str) -> BadParameter:
    """Make the error for text that no other process can be told."""
    return BadParameter(f"{family} {flag(name)}: {shown(text)} is not valid Unicode text")


# The names Luigi gives these.
ParameterException = ParameterError
MissingParameterException = MissingParameter
UnknownParameterException = UnknownParameter
DuplicateParameterException = DuplicateParameter
