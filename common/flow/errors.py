"""One tree of errors, each with the exit code a command ends with.

FlowError                      40  internal error of flow unless a subclass says otherwise
├── UsageError                  2  wrong usage, unknown task, bad parameter
├── SchedulingError            35  requires(), complete() or the import raised
├── Unreachable                60  no coordinator, or the connection was lost
├── Refused                    61  version, address without keys, token
├── ConfigError                78  settings, state directory, broken environment
├── DiskFull                   78  the coordinator's disk is full, and nobody waits for room
├── StoreError                 78  the state database cannot be used
│   └── StoreFull              --  no space: retryable, handled by the coordinator's loop
└── ProtocolError              --  malformed bytes from a peer: counted, dropped
"""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """What a command's exit code says. Source: Luigi's recommended return codes for 10-40."""

    OK = 0
    USAGE = 2
    ALREADY_RUNNING = 10
    MISSING_DATA = 20
    NOT_RUN = 25
    TASK_FAILED = 30
    SCHEDULING_ERROR = 35
    INTERNAL = 40
    CANCELLED = 50
    UNREACHABLE = 60
    REFUSED = 61
    CONFIG = 78
    TIMEOUT = 124
    INTERRUPTED = 130


class FlowError(Exception):
    """Base of every error flow raises on purpose. ``hint`` is what to type next."""

    exit_code: ExitCode = ExitCode.INTERNAL
    retryable: bool = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(FlowError):
    """The user asked for something that does not exist or cannot be read."""

    exit_code = ExitCode.USAGE


class SchedulingError(FlowError):
    """User code raised while its tasks were planned."""

    exit_code = ExitCode.SCHEDULING_ERROR


class Unreachable(FlowError):
    """No coordinator answers."""

    exit_code = ExitCode.UNREACHABLE
    retryable = True


class Refused(FlowError):
    """The other side understood and said no."""

    exit_code = ExitCode.REFUSED


class ConfigError(FlowError):
    """Settings or environment do not allow a start."""

    exit_code = ExitCode.CONFIG


class StoreError(FlowError):
    """The state database is damaged, locked, newer, or on a broken disk."""

    exit_code = ExitCode.CONFIG


class StoreFull(StoreError):
    """No space left for the state database; nothing was written."""

    retryable = True
    #: the directory that is full
    where = ""


class DiskFull(FlowError):
    """The coordinator waits for room on its disk, longer than this caller wanted to wait."""

    exit_code = ExitCode.CONFIG
    retryable = True


class ProtocolError(FlowError):
    """Bytes from a peer that are not a message of this protocol."""
