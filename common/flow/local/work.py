"""What a run on this machine is asked to do, and what its ways of running share.

Runs in child processes (``flow.local.execution``) and runs in the calling thread
(``flow.local.inprocess``) take the same ``Work``, ask for it with the same message, and show it
alike.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from flow.client.follow import Ended
    from flow.client.views import View
    from flow.wire.messages.client import Submit


class Root(NamedTuple):
    """A task to run."""

    module: str
    family: str
    params: dict[str, str]


class Work(NamedTuple):
    """What to run, and how."""

    roots: Sequence[Root]
    options: dict[str, Any]  #: by ``flow.client.options.RUN``
    path: Sequence[str] = ()
    here: bool = False  #: no process can import the tasks: in forks of this one, or in itself
    forks: bool = False  #: tasks see what this process has set, where it can be forked
    library: bool = False  #: called from a program: stdout belongs to the program
    #: values for tasks of any family: ``Family_parameter`` -> text
    qualified: dict[str, str] = {}


@contextlib.contextmanager
def told(qualified: dict[str, str]) -> Iterator[None]:
    """Have tasks that this very process makes get what the command line gives to their families.

    Task processes get it with what they are asked. A run inside a task of another run does not take
    over what that one was told, and that one has it again afterwards.
    """
    if not {"flow.parameters.given", "flow.task", "luigi.task"} & set(sys.modules):
        yield  # nothing here makes tasks
        return
    from flow.client.options import spell_given
    from flow.parameters import given

    with given.using(spell_given(qualified)):
        yield


def view_of(work: Work, *, live: bool = True) -> View:
    """Pick how a run is shown; ``live``: it may move what it has shown."""
    from flow.client.views import choose

    return choose(
        json=work.options.get("json", False),
        quiet=work.options.get("quiet", False),
        color=not work.options.get("no_color", False),
        hints=False,
        library=work.library,
        live=live,
    )


def submission(work: Work) -> Submit:
    """Make the message that asks for a run, in an engine that is this run's alone."""
    from flow.client.options import submit_options
    from flow.settings.sections import load
    from flow.wire.ids import new_uid
    from flow.wire.messages.client import RootTask, Submit

    roots = [RootTask(*each) for each in work.roots]
    project = work.options.get("project") or load().core.project
    options = submit_options(work.options, work.qualified, alone=True)
    return Submit(0, new_uid(), project, roots, options)


def last_words(view: View, ended: Ended, work: Work) -> None:
    """Show how a run ended, as its options ask for it."""
    from flow.client.finish import words

    if ended.summary is None:
        return
    view.ended(ended.summary)
    default = "none" if work.options.get("quiet") else "short"
    text = words(ended.summary, work.options.get("summary", default), hints=False)
    if text and not work.options.get("json"):
        print(text, file=sys.stderr if work.library else sys.stdout, flush=True)
