"""What every parameter is: a typed value of a task with a text form that reads back equal."""

from __future__ import annotations

import enum
import itertools
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypedDict, overload

from flow.parameters.errors import BadDeclaration, plain, shown

if TYPE_CHECKING:
    from typing import Generic, Self

    from typing_extensions import TypeVar

    #: What a task holds.
    T = TypeVar("T", default=str)
    #: What its constructor takes.
    S = TypeVar("S", default=T)
else:
    from typing import TypeVar

    T, S = TypeVar("T"), TypeVar("S")

    class Generic:
        """Takes types for checkers; which ones makes no difference while a program runs."""

        def __class_getitem__(cls, _types):
            return cls


class NoValue(enum.Enum):
    """The type of ``NO_VALUE``, which no user can pass by accident."""

    NO_VALUE = 0


NO_VALUE: Final = NoValue.NO_VALUE


class ParameterVisibility(enum.IntEnum):
    """Who sees a parameter. Only PUBLIC ones count for a task's identity, as in Luigi."""

    PUBLIC = 0
    HIDDEN = 1  #: sent and stored, not shown on the page
    PRIVATE = 2  #: never leaves the process that made the task: give it a default

    @classmethod
    def has_value(cls, value: object) -> bool:
        """Tell whether a number is one of them."""
        return any(value == known for known in cls)

    def serialize(self) -> int:
        """Return the number."""
        return int(self)


class Options(TypedDict, total=False):
    """What every kind of parameter takes besides its default; see ``Parameter``."""

    significant: bool
    description: str | None
    positional: bool
    visibility: ParameterVisibility
    batch_method: Callable[[Iterable[Any]], Any] | None
    always_in_help: bool
    config_path: Mapping[str, str] | None
    is_global: bool


_created = itertools.count()


class Parameter(Generic[T, S]):
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
        config_path: ``{"section": ..., "name": ...}`` of a default in luigi's own configuration
            files. Deprecated: a section named like the task needs no option.
        is_global: No longer supported; warns, and means ``positional=False``.
    """

    #: What error messages say is expected: "<value> is not <what>".
    what: str = "a string"
    #: Values of exactly this type are accepted as they are, without ``normalize``.
    exact_type: type | None = str
    #: Whether equal values may be written differently: 1, True and 1.0.
    ambiguous: bool = True
    #: What is written for None where the default is None, and read as None there.
    none_text: str = "None"
    #: Whether values are task classes or tasks; kinds that flow does not know may be, too.
    holds_tasks: bool = False

    def __init__(
        self,
        default: S | NoValue = NO_VALUE,
        *,
        significant: bool = True,
        description: str | None = None,
        positional: bool = True,
        visibility: ParameterVisibility = ParameterVisibility.PUBLIC,
        batch_method: Callable[[Iterable[Any]], Any] | None = None,
        always_in_help: bool = False,
        config_path: Mapping[str, str] | None = None,
        is_global: bool = False,
    ) -> None:
        if is_global:
            warnings.warn(
                "is_global is no longer supported, and taken for positional=False",
                DeprecationWarning,
                stacklevel=2,
            )
        if config_path is not None and not {"section", "name"} <= {*config_path}:
            raise BadDeclaration(
                f"config_path needs section and name, got {shown(config_path)}",
                hint='config_path={"section": "...", "name": "..."}',
            )
        known = ParameterVisibility.has_value(visibility)
        self.default: Any = default
        self.significant = significant
        self.description = description
        self.positional = positional and not is_global
        self.visibility = visibility if known else ParameterVisibility.PUBLIC
        self.batch_method = batch_method
        self.always_in_help = always_in_help
        self.config_path = config_path
        #: Declaration order over all classes.
        self.counter = next(_created)

    if TYPE_CHECKING:
        # At run time the instance's own __dict__ holds the value: no descriptor call at all.
        @overload
        def __get__(self, instance: None, owner: Any) -> Self: ...
        @overload
        def __get__(self, instance: object, owner: Any) -> T: ...
        def __get__(self, instance: Any, owner: Any) -> Any: ...
        def __set__(self, instance: object, value: S) -> None: ...

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

    def identify(self, value: T, text: str) -> str:
        """Return what of the value counts for a task's identity; by default its whole text."""
        return text

    def reject(self, value: Any) -> ValueError:
        """Make the error for a value that is not of this kind."""
        return ValueError(f"{shown(value)} is not {self.what}")

    def read(self, text: str) -> T:
        """Parse text as given on a command line, in settings, or by another process."""
        if self.default is None and text == self.none_text:
            return None  # type: ignore[return-value]
        return self.accept(self.parse(text))  # type: ignore[no-any-return]

    def accept(self, value: Any) -> Any:
        """Check a value given in code and bring it to its canonical, hashable form."""
        if self.default is None and (
            value is None or (value.__class__ is str and value == self.none_text)
        ):
            # That text, too: as it would be for any other process.
            return None
        value = self.normalize(value)
        if isinstance(value, list):
            return tuple(value)
        if isinstance(value, set):
            # The order of a set depends on the hash seed; a task's identity must not.
            return tuple(sorted(value, key=repr))
        return value

    def join(self, texts: Iterable[str]) -> Any:
        """Make one value of the texts of several tasks that run as one.

        Raises:
            ValueError: There is no ``batch_method``, or there are no texts.
        """
        values = [self.read(text) for text in texts]
        if self.batch_method is None:
            raise ValueError("got a list, but has no batch_method")
        if not values:
            raise ValueError("got an empty list of values to join")
        return self.accept(self.batch_method(values))

    def warn_of(self, family: str, name: str, value: Any) -> None:
        """Warn of a value given in code that is accepted, but is not what was asked for."""
        if type(self) is Parameter and value is not None and not isinstance(value, str):
            warnings.warn(
                f'Parameter "{name}" with value "{plain(value)}" is not of type string',
                UserWarning,
                stacklevel=FRAMES_TO_CALLER,
            )


#: From a warning about a value to the constructor call that gave it.
FRAMES_TO_CALLER: Final = 5
