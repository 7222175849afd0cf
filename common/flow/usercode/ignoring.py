"""What ``.gitignore`` and ``.flowignore`` leave out, entry by entry as git decides it.

Whoever walks a tree asks for each entry and does not descend into a directory that is left out;
so a pattern here matches the entry itself and never what is below it. (Libraries that match whole
paths without walking let ``!folder/`` bring back files that another pattern leaves out.)

Source: gitignore(5), and git's ``wildmatch.c`` for brackets and ``**``.
"""

from __future__ import annotations

import re
from pathlib import Path

#: In this order: where both say something about an entry, the last one is right.
FILES = (".gitignore", ".flowignore")

_CLASSES = {
    "alnum": "a-zA-Z0-9",
    "alpha": "a-zA-Z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "space": " \\t-\\r",
    "punct": "!-/:-@\\[-`{-~",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


class Patterns:
    """The patterns of one directory, in the order they were written."""

    def __init__(self, text: str) -> None:
        lines = text.removeprefix("\ufeff").split("\n")
        found = (_pattern(line.removesuffix("\r")) for line in lines)
        self._patterns = [each for each in found if each is not None]

    def decide(self, path: str, *, is_folder: bool) -> bool | None:
        """Tell whether an entry is left out or expressly kept; None if nothing is said of it.

        Args:
            path: The entry's path below the directory of these patterns.
            is_folder: Whether it is a directory.
        """
        for leaves_out, only_folders, matches in reversed(self._patterns):
            if (is_folder or not only_folders) and matches.fullmatch(path):
                return leaves_out
        return None


def read(folder: str) -> Patterns | None:
    """Read the patterns of a directory, if it has any. Raises ``OSError``."""
    texts = []
    for name in FILES:
        path = Path(folder, name)
        if path.is_file():
            texts.append(path.read_bytes().decode("utf-8", "surrogateescape"))
    return Patterns("\n".join(text.removeprefix("\ufeff") for text in texts)) if texts else None


def _pattern(line: str) -> tuple[bool, bool, re.Pattern[str]] | None:
    if line.startswith("#"):
        return None
    text = _without_trailing_spaces(line)
    leaves_out = not text.startswith("!")
    text = text if leaves_out else text[1:]
    only_folders = text.endswith("/")
    text = text.removesuffix("/")
    expression = _translated(text.removeprefix("/"))
    if not text or expression is None:
        return None
    # Without a slash a pattern is for the name, wherever the entry is.
    anywhere = "" if "/" in text else "(?:.*/)?"
    return leaves_out, only_folders, re.compile(anywhere + expression, re.DOTALL)


def _without_trailing_spaces(line: str) -> str:
    """Cut spaces at the end but for one after a backslash."""
    kept = line.rstrip(" ")
    backslashes = len(kept) - len(kept.rstrip("\\"))
    return f"{kept} " if backslashes % 2 and kept != line else kept


def _translated(text: str) -> str | None:
    """Translate a pattern; None where it can never match anything."""
    found = []
    at = 0
    while at < len(text):
        char = text[at]
        if char == "*":
            stars = len(text) - at - len(text[at:].lstrip("*"))
            piece, at = _stars(text, at, at + stars)
        elif char == "[":
            bracket = _bracket(text, at + 1)
            if bracket is None:
                return None
            piece, at = bracket
        elif char == "\\":
            if at + 1 == len(text):
                return None
            piece, at = re.escape(text[at + 1]), at + 2
        else:
            piece, at = "[^/]" if char == "?" else re.escape(char), at + 1
        found.append(piece)
    return "".join(found)


def _stars(text: str, at: int, end: int) -> tuple[str, int]:
    """Two stars and more cross slashes, where they stand for whole parts of a path."""
    if end - at > 1 and (at == 0 or text[at - 1] == "/"):
        if end == len(text):
            return ".*", end
        if text[end] == "/":
            return "(?:.*/)?", end + 1
    return "[^/]*", end


def _bracket(text: str, at: int) -> tuple[str, int] | None:
    """Translate what follows ``[``; None where the bracket is not closed or has a wrong class."""
    negated = text[at : at + 1] in ("!", "^") and at < len(text)
    at += negated
    start = at
    found = []
    #: What a following ``-`` makes a range from.
    first = ""
    while at < len(text) and (text[at] != "]" or at == start):
        if text[at] == "[" and text[at + 1 : at + 2] == ":":
            close = text.find("]", at + 2)
            if close < 0:
                return None
            if text[close - 1] == ":" and close - 1 >= at + 2:
                known = _CLASSES.get(text[at + 2 : close - 1])
                if known is None:
                    return None
                found.append(known)
                first, at = "", close + 1
                continue
        is_range = text[at] == "-" and first != "" and text[at + 1 : at + 2] not in ("", "]")
        at += is_range
        at += text[at] == "\\"
        if at >= len(text):
            return None
        if not is_range:
            found.append(re.escape(text[at]))
        elif first <= text[at]:
            found.append(f"{re.escape(first)}-{re.escape(text[at])}")
        first = "" if is_range else text[at]
        at += 1
    if at >= len(text):
        return None
    return f"(?!/)[{'^' if negated else ''}{''.join(found)}]", at + 1
