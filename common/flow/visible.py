"""Text of users on a terminal, in a log, in a mail: it moves no cursor and breaks no line."""

from __future__ import annotations


def printable(text: str) -> str:
    """Do so with all but lines and tabs."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" else escaped(c) for c in text)


def is_unicode(text: str) -> bool:
    """Tell whether text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def escaped(line: str) -> str:
    """Spell what is no text (escapes of terminals, line breaks) as Python does."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
