"""Run the ``flow`` command for real: as a plain process, or in a terminal of its own."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
import time

TIMEOUT_S = 30.0


def run_flow(*words: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run to the end; stdout, stderr and the exit code are in the result."""
    return subprocess.run(
        [sys.executable, "-m", "flow", *words],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={**os.environ, **(env or {})},
    )


class InTerminal:
    """A ``flow`` process whose stdin and stderr are a terminal."""

    def __init__(self, *words: str) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flow", *words],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"},
        )
        os.close(slave)
        self.text = ""

    def __enter__(self) -> InTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._master)

    def expect(self, piece: str, timeout_s: float = TIMEOUT_S) -> None:
        """Read until ``piece`` was printed."""
        deadline = time.monotonic() + timeout_s
        while piece not in self.text:
            left = deadline - time.monotonic()
            assert left > 0, f"waited for {piece!r}, saw:\n{self.text}"
            ready, _, _ = select.select([self._master], [], [], left)
            if ready:
                try:
                    data = os.read(self._master, 65536)
                except OSError:  # the last process on the other side left
                    data = b""
                assert data, f"ended before {piece!r}, saw:\n{self.text}"
                self.text += data.decode(errors="replace")

    def press_ctrl_c(self) -> None:
        """Send what the terminal would."""
        self.process.send_signal(signal.SIGINT)

    def type(self, text: str) -> None:
        """Type on the terminal."""
        os.write(self._master, text.encode())

    def wait(self, timeout_s: float = TIMEOUT_S) -> int:
        """Read to the end and return the exit code."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            ready, _, _ = select.select([self._master], [], [], 0.1)
            if ready:
                try:
                    data = os.read(self._master, 65536)
                except OSError:
                    break
                self.text += data.decode(errors="replace")
            elif self.process.poll() is not None:
                break
        return self.process.wait(max(0.1, deadline - time.monotonic()))
