"""The template that is a fork of the program which asked for a run: it has what the program has.

It was forked before its worker began (``flow.local.forking``), in the middle of the program's own
code, and never returns there. It keeps the program's modules, descriptors, handlers of signals and
logging; what the program registered for its own end, and what reads its stdin, is the program's
alone. From then on it is a template as any other, except that it imports nothing twice.

Rules R5 and R6.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

from flow import seam
from flow.modules import loading, places
from flow.parameters.defaults import settings
from flow.usercode import tasklogs
from flow.wire.messages.shared import Program
from flow_worker import channel
from flow_worker.channel import Role
from flow_worker.guard import birth, kill, marker
from flow_worker.process import program, streams, template
from flow_worker.process.slip import Slip

#: What a Python program has of signals before it sets any.
_FRESH = {signal.SIGPIPE: signal.SIG_IGN, signal.SIGXFSZ: signal.SIG_IGN}


def be_template(
    worker: int, sock: socket.socket, line: socket.socket, log_dir: str, mask: set[Any]
) -> NoReturn:
    """Be the template until the agent says Leave, in a fork of the program; then end the process.

    Args:
        worker: The parent, which becomes the supervisor.
        sock: To the agent.
        line: To the supervisor.
        log_dir: Where output goes.
        mask: The signals that the program blocks; here all are blocked until now.
    """
    birth.finish(lambda: _serve(worker, sock, line, Path(log_dir), mask))


def _serve(
    worker: int, sock: socket.socket, line: socket.socket, log_dir: Path, mask: set[Any]
) -> int:
    handlers = _take_handlers()
    birth.reset_signals()
    os.setsid()
    birth.die_with(worker)
    birth.be_killed_first(Role.TEMPLATE)
    template.forget_endings()
    sys.stdin = open(0, closefd=False)  # noqa: SIM115  (for good; it is empty)
    streams.replace_foreign()
    kill.name_process("flow-template")
    with contextlib.suppress(OSError):
        log_dir.mkdir(parents=True, exist_ok=True)
    slip = Slip(log_dir)
    output = streams.Output(log_dir, slip)
    try:
        _Inheriting(sock, line, log_dir, output, handlers, mask).run()
    finally:
        output.close()
        slip.close()
        template.forget_endings()
    return 0


class _Inheriting(template.Template):
    """A template whose program was there before."""

    def __init__(
        self,
        sock: socket.socket,
        line: socket.socket,
        log_dir: Path,
        output: streams.Output,
        handlers: dict[int, Any],
        mask: set[Any],
    ) -> None:
        super().__init__(sock, line, log_dir, output)
        self._handlers = handlers
        self._mask = mask

    def _load(self, message: channel.Load) -> None:
        os.environ[marker.VARIABLE] = marker.marker_of(os.getppid())
        self._output.take_as_is()  # what the program has printed until now is on its own stdout
        _know_classes()
        loading.inherit_program()
        self._loaded(self._import(message.program))

    def _import(self, wanted: Program) -> channel.Loaded:
        """Import what is not there yet. What the program has set of settings and logging stays."""
        _set_up_logging()
        return program.load(wanted, inherited=True)


def _take_handlers() -> dict[int, Any]:
    """Return the handlers that the program has set for its tasks; none is active from here on.

    Those of ``birth.RESET`` and of Ctrl-C are for the program, as in any task process.
    """
    handlers = {}
    for number in signal.valid_signals() - {*birth.RESET, signal.SIGINT}:
        handler = signal.getsignal(number)
        if handler is not None and handler != _FRESH.get(number, signal.SIG_DFL):
            handlers[int(number)] = handler
            signal.signal(number, signal.SIG_DFL)
    return handlers


def _know_classes() -> None:
    """Have every class that the program has made count as made by its import, as named there."""
    for dialect in (seam.NATIVE, *seam.others()):
        for cls in dialect.every_class():
            if not places.is_held(cls):
                places.made_by.setdefault(cls, dialect.module(cls))


def _set_up_logging() -> None:
    """Set up logging for tasks where the program has not done it for itself."""
    root = logging.getLogger()
    level, own = root.level, list(root.handlers)
    tasklogs.configure_or_tell(settings().logs)
    if root.handlers == own and (own or level != logging.WARNING):
        root.setLevel(level)
