"""Mail addresses and header texts, as settings and tasks spell them."""

from __future__ import annotations

from collections.abc import Iterable


def addresses(texts: Iterable[str]) -> list[str]:
    """Split at commas; what is given twice comes once."""
    found = [one.strip() for text in texts for one in text.split(",")]
    return list(dict.fromkeys(filter(None, found)))


def one_line(text: str) -> str:
    """Keep a header a header, whatever a task's parameter contains.

    Python decodes encoded words (RFC 2047) in what it is given, line ends and all: here are none.
    """
    return "".join(c if c.isprintable() else " " for c in text).replace("=?", "= ?")
