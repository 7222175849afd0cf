"""What every parameter is: a typed value of a task with a text form that reads back equal."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Generic, overload

from flow.parameters.errors import shown

if TYPE_CHECKING:
    from typing import Self

    from typing_extensions import TypeVar

    T = TypeVar("T", default=str)
else:
    from typing import TypeVar

    T = TypeVar("T")


class NoValue(enum.Enum):
    """The type of ``NO_VALUE``, which no user can pass by accident."""

    NO_VALUE = 0


NO_VALUE: Final = NoValue.NO_VALUE


class ParameterVisibility(enum.IntEnum):
    """Who sees a parameter. Only PUBLIC ones count for a task's identity, as in Luigi."""

    PUBLIC = 0
    HIDDEN = 1  #: sent and stored, not shown on the page
    PRIVATE = 2  #: never leaves the process that made the task: give it a default


_created = itertools.count()


class Parameter(Generic[T]):
    """A named value of a task; this class itself holds text.

    Subclasses say how text is read (``parse``), written (``serialize``) and which values are
    accepted from code (``normalize``). All three raise ``ValueError`` for what they refuse; the
    task adds its own name, the parameter's name and its type to the message.

    Args:
        default: The value when nothing else gives one; without it the parameter is required.
        significant: Whether the value counts for the identity of the task.
        description: Shown by ``--help``.
        positional: Whether the value may be given by position.
        visibility: See ``ParameterVisibility``.
        batch_method: Joins parsed values of several tasks into one, e.g. ``max``.
        always_in_help: Shown by ``--help`` even where only root parameters are.
    """

    #: What error messages say is expected: "<value> is not <what>".
    what: str = "a string"
    #: Values of exactly this type are accepted as they are, without ``normalize``.
    exact_type: type | None = str
    #: Whether equal values may be written differently (1 and True inside a list).
    ambiguous: bool = False

    def __init__(
        self,
        default: Any = NO_VALUE,
        *,
        significant: bool = True,
        description: str | None = None,
        positional: bool = True,
        visibility: ParameterVisibility = ParameterVisibility.PUBLIC,
        batch_method: Callable[[Iterable[Any]], Any] | None = None,
        always_in_help: bool = False,
    ) -> None:
        self.default = default
        self.significant = significant
        self.description = description
        self.positional = positional
        known = any(visibility == known for known in ParameterVisibility)
        self.visibility = visibility if known else ParameterVisibility.PUBLIC
        self.batch_method = batch_method
        self.always_in_help = always_in_help
        #: Declaration order over all classes.
        self.counter = next(_created)

    if TYPE_CHECKING:
        # At run time the instance's own __dict__ holds the value: no descriptor call at all.
        @overload
        def __get__(self, instance: None, owner: Any = ...) -> Self: ...
        @overload
        def __get__(self, instance: object, owner: Any = ...) -> T: ...
        def __get__(self, instance: Any, owner: Any = None) -> Any: ...
        def __set__(self, instance: object, value: T) -> None: ...

    def parse(self, text: str) -> T:
        """Read the value from text."""
        return text  # type: ignore[return-value]

    def serialize(self, value: T) -> str:
        """Write the value as text that ``parse`` reads back."""
        return str(value)

    def normalize(self, value: Any) -> T:
        """Return the value as the task will hold it. Called for values given in code."""
        return value  # type: ignore[no-any-return]

    def next_in_enumeration(self, value: T) -> T | None:
        """Return the value after this one, if values of this kind can be counted."""
        return None

    def reject(self, value: Any) -> ValueError:
        """Make the error for a value that is not of this kind."""
        return ValueError(f"{shown(value)} is not {self.what}")

    def read(self, text: str) -> T:
        """Parse text as given on a command line, in settings, or by another process."""
        if self.default is None and text == "None":
            # str(None) is how a default of None crosses processes.
            return None  # type: ignore[return-value]
        return self.normalize(self.parse(text))

    def accept(self, value: Any) -> Any:
        """Check a value given in code and bring it to its canonical, hashable form."""
        if value is None and self.default is None:
            return None
        value = self.normalize(value)
        if isinstance(value, list):
            return tuple(value)
        if isinstance(value, set):
            # The order of a set depends on the hash seed; a task's identity must not.
            return tuple(sorted(value, key=repr))
        return value
