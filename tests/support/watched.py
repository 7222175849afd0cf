"""The cores that a test drives, so that its end can look at them: see tests/unit/conftest.py."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Protocol


class Watched(Protocol):
    """A core in a box."""

    def check(self) -> None:
        """Check every invariant."""
        ...

    def unread(self) -> set[str]:
        """Name the kinds of what the core said that nobody took."""
        ...


_watched: list[Watched] | None = None


def watch(env: Watched) -> None:
    """Look at this core, too, when the test ends that made it."""
    if _watched is not None:
        _watched.append(env)


@contextlib.contextmanager
def watching() -> Iterator[list[Watched]]:
    """Give what is made meanwhile."""
    global _watched
    _watched = made = []
    try:
        yield made
    finally:
        _watched = None


def judge(cores: Iterable[Watched], left: set[str]) -> None:
    """Fail where an invariant is broken, or where more than ``left`` was left unread."""
    for env in cores:
        env.check()
        more = sorted(env.unread() - left)
        kinds = ", ".join(f'"{kind}"' for kind in more)
        assert not more, (
            "the core said what this test did not read. Read it, or say that it does not matter: "
            f"@pytest.mark.unread({kinds})"
        )
