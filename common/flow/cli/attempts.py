"""Show what tasks printed, where they ran on this machine: ``flow run`` and ``flow.build``.

The worker leaves one file per attempt that printed something (see the worker's output files); each
is shown once, when it is whole, the middle of a long one left out.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flow.cli.views import View

#: Of one attempt's output, in the terminal.
LINES_MAX = 200
BYTES_MAX = 64 << 10
#: Attempts shown; who prints from more tasks wants a file.
ATTEMPTS_MAX = 1_000


class Attempts:
    """The files of finished attempts in one directory."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._seen: set[str] = set()
        self._changed_at = -1
        self._shown = 0
        #: task ids whose output was shown with their failure
        self.failed: set[str] = set()

    def show(self, view: View) -> None:
        """Show what ended since the last call. Cost: one ``stat`` where nothing did."""
        try:
            changed_at = os.stat(self._directory).st_mtime_ns
            if changed_at == self._changed_at:
                return
            self._changed_at = changed_at
            entries = [entry for entry in os.scandir(self._directory) if self._is_new(entry.name)]
            entries.sort(key=lambda entry: entry.stat().st_mtime_ns)
        except OSError:
            return
        for entry in entries:
            self._seen.add(entry.name)
            task_id = entry.name.rsplit(".", 3)[0]
            if task_id in self.failed:
                continue
            self._shown += 1
            if self._shown <= ATTEMPTS_MAX:
                view.output(task_id, _read(entry.path))
            elif self._shown == ATTEMPTS_MAX + 1:
                view.say(f"{ATTEMPTS_MAX} tasks printed something; the others are not shown")

    def _is_new(self, name: str) -> bool:
        return name.endswith(".log") and name not in self._seen


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
