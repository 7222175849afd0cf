"""What a task can say while ``run()`` runs, and the messages it can hear.

``bind`` lends a task the functions that ``run()`` finds on itself; ``unbind`` takes them back. It
works for a ``flow.Task`` and for any other object, such as a ``luigi.Task``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

#: What a task finds on itself during ``run()``, and None before and after.
NAMES = (
    "set_tracking_url",
    "set_status_message",
    "set_progress_percentage",
    "decrease_running_resources",
    "scheduler_messages",
)


class Voice(Protocol):
    """What one attempt says and hears. Every function may be called from any thread."""

    #: A queue of ``SchedulerMessage`` (``get``, ``get_nowait``, ``empty``, ``qsize`` ...), or None.
    scheduler_messages: Any

    def set_tracking_url(self, tracking_url: str) -> None:
        """Show where the work can be watched."""

    def set_status_message(self, message: str) -> None:
        """Show in words how far it is."""

    def set_progress_percentage(self, percentage: float) -> None:
        """Show how far it is, 0 to 100."""

    def decrease_running_resources(self, decrease_resources: dict[str, float]) -> None:
        """Give back so much of what this attempt holds, at once and for good."""


#: Which objects run now, by ``id``: nothing is written into a task, so it can be copied and
#: pickled during ``run()`` as before.
_running: dict[int, Callable[[], Voice]] = {}


class During:
    """A class attribute that is the voice's while its task runs, and None otherwise."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, task: Any, owner: Any = None) -> Any:
        voice = _running.get(id(task)) if task is not None else None
        return None if voice is None else getattr(voice(), self._name)


def bind(task: Any, voice: Callable[[], Voice]) -> None:
    """Lend a task its voice for the time of ``run()``.

    Args:
        task: A task of flow, which asks for its voice when it first needs it, or any object, which
            gets the attributes of ``NAMES``.
        voice: Returns the voice of this attempt, always the same one.
    """
    if hasattr(type(task), "_flow_signature"):
        _running[id(task)] = voice
    else:
        given = voice()
        for name in NAMES:
            setattr(task, name, getattr(given, name))


def unbind(task: Any) -> None:
    """Take the voice back; a second time changes nothing."""
    if hasattr(type(task), "_flow_signature"):
        _running.pop(id(task), None)
    else:
        for name in NAMES:
            setattr(task, name, None)


class SchedulerMessage:
    """A message that somebody sent to the running task: ``flow message TASK TEXT``.

    ``str()`` of it is its content; comparing compares the content, also with a text.
    """

    __slots__ = ("_respond", "content", "payload")

    def __init__(
        self, content: str, payload: dict[str, str], respond: Callable[[str], None]
    ) -> None:
        self.content = content
        #: Further values from a program that sent it; empty from the command line.
        self.payload = payload
        self._respond = respond

    def respond(self, response: Any) -> None:
        """Reply to the sender, if it waits: a text, or what JSON can spell. The first counts."""
        if not isinstance(response, str):
            import json

            response = json.dumps(response, default=str)
        self._respond(response)

    def __str__(self) -> str:
        return self.content

    def __repr__(self) -> str:
        return f"SchedulerMessage({self.content!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, SchedulerMessage):
            return self.content == other.content
        return self.content == other

    def __hash__(self) -> int:
        return hash(self.content)
