"""What messages carry among the parameters of a task, under names that no parameter can have."""

from __future__ import annotations

#: Values that are no text, with their types, as one text. See ``flow.typed``.
TYPED = ""
#: Of a root: names that a command line had for options of the command, behind TASK; between spaces.
TAKEN = "-"
#: Of a root: names behind which the command line had no value; between spaces.
BARE = "?"
