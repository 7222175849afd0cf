"""A request that is refused. Raised wherever that turns out, said in one place."""

from __future__ import annotations

from collections.abc import Iterable

from flow.errors import ExitCode


class Refusal(Exception):
    """What who asked is told; ``answers.answer`` does."""

    def __init__(
        self,
        error: str,
        hint: str = "",
        *,
        matches: Iterable[str] = (),
        code: ExitCode = ExitCode.USAGE,
    ) -> None:
        super().__init__(error)
        self.hint = hint
        #: what may have been meant; ``answers`` says a bounded number of them
        self.matches = matches
        #: exit code of the command
        self.code = code
