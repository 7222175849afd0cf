"""What a mutant is, and the list of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pytest import MonkeyPatch

#: A mutant's body: gets a patch that is undone after the seed.
Body = Callable[[MonkeyPatch], None]


@dataclass(frozen=True)
class Mutant:
    """One rule, broken."""

    name: str
    #: of PROTOCOL.md: a rule, a promise, or a word of its list
    rule: str
    body: Body
    #: the simulation's profile that reaches the rule soonest
    profile: str = "mixed"
    #: why no promise can break without this rule; such a mutant must survive
    equivalent: str = ""

    @property
    def story(self) -> str:
        """What the code does now, in a sentence."""
        return (self.body.__doc__ or "").strip().splitlines()[0]

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Break the rule, in this process, for a while."""
        with MonkeyPatch.context() as patch:
            self.body(patch)
            yield


MUTANTS: dict[str, Mutant] = {}


def mutant(rule: str, profile: str = "mixed", equivalent: str = "") -> Callable[[Body], Body]:
    """Register the body under its own name."""

    def register(body: Body) -> Body:
        name = body.__name__
        MUTANTS[name] = Mutant(name, rule, body, profile, equivalent)
        return body

    return register
