"""What user code prints, logs and warns while it plans: told with the answer, bounded.

Each line is told once by a process, so that a thousand tasks that say the same say it once; of one
answer the first lines go with the chunk after which they were printed, the last ones with the last.
"""

from __future__ import annotations

from collections import deque

from flow_worker.process.output import printable
from flow_worker.process.streams import Output

#: What one answer tells of its first and of its last lines, characters.
HEAD_CHARS_MAX = 4_000
TAIL_CHARS_MAX = 4_000
LINE_CHARS_MAX = 1_000
#: Lines of one process that are remembered, so as not to be told again.
LINES_MAX = 2_000


class Overheard:
    """What is printed during one answer.

    ``known`` are the lines that this process has told before; ``imported`` is what the import of
    its program printed, before this process was forked.
    """

    def __init__(self, output: Output, known: dict[str, None], imported: str = "") -> None:
        self._output = output
        self._known = known
        self._imported = imported
        self._head: list[str] = []
        self._head_room = HEAD_CHARS_MAX
        self._tail: deque[str] = deque()
        self._tail_chars = 0
        self._left_out = 0
        self._mark = 0
        self._add(imported)

    def mark(self) -> None:
        """Say that from now on one task alone has the word."""
        self._mark = self._output.size()

    def last_lines(self) -> str:
        """Return the last lines since ``mark``: those of a task that cannot be planned."""
        return self._output.tail(self._mark)

    def of_import(self) -> str:
        """Return the last lines of an import that failed; once, however many tasks it hits."""
        text, self._imported = self._imported + self._take(), ""
        return printable(text)

    def more(self) -> str:
        """Return what is to be told with the next chunk."""
        self._take()
        text, self._head = "\n".join(self._head), []
        return text

    def rest(self) -> str:
        """Return what is to be told with the last chunk."""
        lines = [self.more()]
        if self._left_out:
            lines.append(f"... {self._left_out} lines left out ...")
        return "\n".join(filter(None, [*lines, *self._tail]))

    def _take(self) -> str:
        text = self._output.take()
        self._mark = 0
        self._add(text)
        return text

    def _add(self, text: str) -> None:
        for full in text.split("\n"):
            line = full[:LINE_CHARS_MAX].rstrip()
            if not line or line in self._known:
                continue
            if len(self._known) < LINES_MAX:
                self._known[line] = None
            if len(line) <= self._head_room and not self._tail:
                self._head.append(line)
                self._head_room -= len(line) + 1
                continue
            self._tail.append(line)
            self._tail_chars += len(line) + 1
            while self._tail_chars > TAIL_CHARS_MAX:
                self._tail_chars -= len(self._tail.popleft()) + 1
                self._left_out += 1
