"""Show what tasks printed, where they ran on this machine: ``flow run`` and ``flow.build``.

The worker leaves one file per attempt that printed something (see the worker's output files); each
is shown once, when it is whole, the middle of a long one left out.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from flow.room import has_room

if TYPE_CHECKING:
    from flow.client.views import View

#: Of one attempt's output, in the terminal.
LINES_MAX = 200
BYTES_MAX = 64 << 10
#: Attempts shown; who prints from more tasks wants a file.
ATTEMPTS_MAX = 1_000
#: The news that an attempt failed may come so much later than its file.
HOLD_S = 0.5

#: TASK_ID.ATTEMPT.TOKEN.log
_ATTEMPT = re.compile(r".+\.\d+\.[^.]*\.log")


class Attempts:
    """The files of finished attempts in one directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._seen: set[str] = set()
        #: (file, when it was found), oldest first
        self._waiting: list[tuple[str, float]] = []
        self._changed_at = -1
        self._shown = 0
        self._misses = False
        #: (task id, attempt) whose output was shown with their failure
        self.failed: set[tuple[str, int]] = set()

    def show(self, view: View, *, all_now: bool = False) -> None:
        """Show what ended a moment ago; ``all_now``: no more news comes. Cost: 3 system calls.

        Once as many were shown as may be, nothing is looked for any more.
        """
        if self._shown > ATTEMPTS_MAX:
            return
        if not self._misses and os.path.isdir(self._directory) and not has_room(self._directory):
            self._misses = True
            view.say(f"No room in {self._directory}: what tasks print is not kept, and not shown.")
        self._look()
        until = time.monotonic() - HOLD_S
        while self._waiting and (all_now or self._waiting[0][1] <= until):
            name, _ = self._waiting.pop(0)
            task_id, attempt, _, _ = name.rsplit(".", 3)
            if (task_id, int(attempt)) in self.failed:
                continue
            self._shown += 1
            if self._shown <= ATTEMPTS_MAX:
                view.output(task_id, _read(os.path.join(self._directory, name)))
            elif self._shown == ATTEMPTS_MAX + 1:
                view.say(f"{ATTEMPTS_MAX} tasks printed something; the others are not shown")

    def _look(self) -> None:
        """Find the files that are new."""
        try:
            changed_at = os.stat(self._directory).st_mtime_ns
            if changed_at == self._changed_at:
                return
            self._changed_at = changed_at
            entries = [entry for entry in os.scandir(self._directory) if self._is_new(entry.name)]
            entries.sort(key=lambda entry: entry.stat().st_mtime_ns)
        except OSError:
            return
        now = time.monotonic()
        self._seen.update(entry.name for entry in entries)
        self._waiting += [(entry.name, now) for entry in entries]

    def _is_new(self, name: str) -> bool:
        return _ATTEMPT.fullmatch(name) is not None and name not in self._seen


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            data = file.read(BYTES_MAX // 2)
            if size > BYTES_MAX:
                data += f"\n... {size - BYTES_MAX} bytes not shown ...\n".encode()
                file.seek(-BYTES_MAX // 2, os.SEEK_END)
            data += file.read(BYTES_MAX // 2)
    except OSError:
        return ""
    lines = data.decode(errors="replace").splitlines()
    if len(lines) > LINES_MAX:
        left_out = f"... {len(lines) - LINES_MAX} lines not shown ..."
        lines[LINES_MAX // 2 : -LINES_MAX // 2] = [left_out]
    return "\n".join(lines)
