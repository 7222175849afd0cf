"""Ctrl-C as something a loop asks for, and SIGTERM as a way out that cleans up."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from flow.errors import ExitCode

#: A second press within this time means more than the first.
SECOND_PRESS_S = 2.0


class Interrupts:
    """Count presses of Ctrl-C while entered; only in the main thread, elsewhere it sees none.

    Args:
        raising: Raise ``KeyboardInterrupt`` at every press but the first: for a main thread that
            itself runs what is to be stopped.
    """

    def __init__(self, *, raising: bool = False) -> None:
        self.presses = 0
        self._raising = raising
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._pressed)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _pressed(self, _number: int, _frame: FrameType | None) -> None:
        self.presses += 1
        if self._raising and self.presses > 1:
            raise KeyboardInterrupt


class EndedBySignal(SystemExit):
    """A signal ends this program; a ``sys.exit()`` of its own is no such thing."""


class CleanExit:
    """Let SIGTERM and SIGHUP unwind the stack while entered, unless the program handles them."""

    def __init__(self) -> None:
        self._mine: list[signal.Signals] = []

    def __enter__(self) -> CleanExit:
        if threading.current_thread() is threading.main_thread():
            for each in (signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(each) is signal.SIG_DFL:
                    signal.signal(each, _leave)
                    self._mine.append(each)
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._mine:
            signal.signal(each, signal.SIG_DFL)


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise EndedBySignal(int(ExitCode.INTERRUPTED))
