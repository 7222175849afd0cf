"""What messages carry among the parameters of a task besides the text of each."""

from __future__ import annotations

#: Values that are no text, with their types, as one text. See ``flow.parameters.typed``.
TYPED = ""
#: Of a root: names that a command line had for options of the command, behind TASK; between spaces.
TAKEN = "-"
#: Of a root: names behind which the command line had no value; between spaces.
BARE = "?"

#: How the text of a parameter begins that holds tasks; what people are shown of it comes next, up
#: to the quotation mark. See ``flow.parameters.held``.
HELD = '{"held": "'


def brief(text: str) -> str:
    """Return what people are shown of a value: of one that holds tasks, which those are."""
    return text[len(HELD) :].partition('"')[0] if text.startswith(HELD) else text
