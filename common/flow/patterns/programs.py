"""Tasks whose ``run()`` is another program: ``ExternalProgramTask`` and its Python variant."""

from __future__ import annotations

import codecs
import logging
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from types import FrameType
from typing import IO, Any, Final

from flow.parameters.base import ParameterVisibility
from flow.parameters.choice import ChoiceParameter
from flow.parameters.scalar import BoolParameter, OptionalParameter
from flow.task import Task

logger = logging.getLogger("flow.external_program")

#: How often what a program writes is passed on.
PASS_ON_S: Final = 0.2
#: A program that was asked to end gets this long before it is killed.
END_S: Final = 10.0
#: Of each stream, in the error of a program that failed: its last so many characters.
KEPT_CHARS_MAX: Final = 20_000
#: Bytes of a stream passed on at a time.
PIECE_BYTES: Final = 1 << 16


class ExternalProgramRunError(RuntimeError):
    """A program ended with another code than 0.

    Attributes:
        message: What happened, with the code.
        args: The command.
        env: The environment it ran in. Its values are not part of the text: they may be secret.
        out: The end of its standard output; None where it was not captured.
        err: The same of its standard error.
    """

    def __init__(
        self,
        message: str,
        args: Any,
        env: Any = None,
        stdout: str | None = None,
        stderr: str | None = None,
    ) -> None:
        super().__init__(message, args, env, stdout, stderr)
        self.message = message
        self.args = tuple(args)
        self.env = env
        self.out = stdout
        self.err = stderr

    def __str__(self) -> str:
        lines = [self.message, f"COMMAND: {' '.join(map(str, self.args))}"]
        lines += [f"STDOUT: {self.out or '[empty]'}", f"STDERR: {self.err or '[empty]'}"]
        changed = [
            name for name, value in (self.env or {}).items() if os.environ.get(name) != value
        ]
        lines.append(f"ENVIRONMENT CHANGED: {' '.join(sorted(changed)) or '[nothing]'}")
        return "\n".join(lines)


class ExternalProgramTask(Task):
    """Runs the program that ``program_args()`` names; any exit code but 0 is a failure.

    What it writes becomes output of the attempt while it runs, and its end is part of the error.
    When the attempt is stopped, so is the program: SIGTERM first, SIGKILL later.
    """

    _visible_in_registry = False

    capture_output = BoolParameter(
        default=True,
        significant=False,
        positional=False,
        description="False: the program has the output streams of the task itself",
    )
    stream_for_searching_tracking_url = ChoiceParameter(
        choices=["none", "stdout", "stderr"],
        default="none",
        significant=False,
        positional=False,
        visibility=ParameterVisibility.HIDDEN,
        description="where the program says the URL under which it can be watched",
    )
    tracking_url_pattern = OptionalParameter(
        default=None,
        significant=False,
        positional=False,
        visibility=ParameterVisibility.HIDDEN,
        description="regular expression; its first group in a line, or all, is the tracking URL",
    )

    def program_args(self) -> Any:
        """Return the program and its arguments, a list. To override."""
        raise NotImplementedError(f"{self.task_family} must implement program_args()")

    def program_environment(self) -> Any:
        """Return the environment variables of the program: by default, those of the task."""
        return os.environ.copy()

    @property
    def always_log_stderr(self) -> bool:
        """Whether the program's standard error is shown although it succeeded."""
        return True

    def build_tracking_url(self, logs_output: str) -> str:
        """Return the URL for what ``tracking_url_pattern`` found."""
        return logs_output

    def run(self) -> Any:
        """Run the program to its end. Raises ``ExternalProgramRunError`` where that was bad."""
        args = [str(word) for word in self.program_args()]
        environment = self.program_environment()
        logger.info("Running command: %s", " ".join(args))
        hunted = self.stream_for_searching_tracking_url if self.tracking_url_pattern else "none"
        shown = {"stdout": True, "stderr": self.always_log_stderr}
        with _Streams() as streams:
            for name, at_once in shown.items():
                if self.capture_output or name == hunted:
                    streams.add(name, at_once, self._hunter() if name == hunted else None)
            with ExternalProgramRunContext() as context:
                program = subprocess.Popen(args, env=environment, **streams.files())
                context.adopt(program)
                _wait(program, streams.pass_on)
            failed = program.returncode != 0
            streams.pass_on(everything=failed)
            if failed:
                raise ExternalProgramRunError(
                    f"Program failed with return code={program.returncode}:",
                    args,
                    env=environment,
                    stdout=streams.end_of("stdout"),
                    stderr=streams.end_of("stderr"),
                )

    def _hunter(self) -> Callable[[str], None]:
        pattern = re.compile(self.tracking_url_pattern or "")

        def look(line: str) -> None:
            found = pattern.search(line)
            if found and self.set_tracking_url is not None:
                self.set_tracking_url(self.build_tracking_url(str(found[min(1, pattern.groups)])))

        return look


class ExternalPythonProgramTask(ExternalProgramTask):
    """Runs a Python program, in a virtual environment or with a longer ``PYTHONPATH``."""

    _visible_in_registry = False

    virtualenv = OptionalParameter(
        default=None,
        positional=False,
        description="directory of the virtual environment to use: the one with bin/activate",
    )
    extra_pythonpath = OptionalParameter(
        default=None,
        positional=False,
        description="put before what PYTHONPATH has",
    )

    def program_environment(self) -> Any:
        """Do to the environment what activating the virtual environment does."""
        environment = super().program_environment()
        if self.extra_pythonpath:
            paths = [self.extra_pythonpath, environment.get("PYTHONPATH", "")]
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
        if self.virtualenv:
            paths = [f"{self.virtualenv}/bin", environment.get("PATH", "")]
            environment["PATH"] = os.pathsep.join(filter(None, paths))
            environment["VIRTUAL_ENV"] = self.virtualenv
            environment.pop("PYTHONHOME", None)
        return environment


class ExternalProgramRunContext:
    """While it is entered, the program does not outlive whatever ends this code.

    Inside the engine SIGTERM is an exception already; elsewhere it is made one. Entered before the
    program starts, it also stops one that has just begun.
    """

    def __init__(self, proc: subprocess.Popen[bytes] | None = None) -> None:
        self.proc = proc
        self._installed = False
        self._signal = 0

    def __enter__(self) -> ExternalProgramRunContext:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, self.kill_job)
            self._installed = True
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._installed:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if kind is not None:
            self._end()

    def kill_job(
        self, captured_signal: int | None = None, stack_frame: FrameType | None = None
    ) -> None:
        """Leave with the exit code of the signal; the program ends on the way out."""
        if captured_signal is not None:
            self._signal = captured_signal
            if self.proc is not None:
                sys.exit(128 + captured_signal)
        elif self.proc is not None:
            self.proc.kill()

    def adopt(self, proc: subprocess.Popen[bytes]) -> None:
        """Take care of a program that was just started."""
        self.proc = proc
        if self._signal:
            sys.exit(128 + self._signal)

    def _end(self) -> None:
        if self.proc is None:
            return
        self.proc.terminate()
        try:
            self.proc.wait(END_S)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()


class _Stream:
    """What a program writes into a file, read while it does."""

    def __init__(self, name: str, at_once: bool, look: Callable[[str], None] | None) -> None:
        self.file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  closed by _Streams
        self.at_once = at_once
        self.kept = ""
        self._name = name
        self._look = look
        self._line = ""
        self._at = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def pass_on(self, show: bool) -> None:
        """Read what is new: for the URL always, for the reader if it is to be shown."""
        number = self.file.fileno()
        while piece := os.pread(number, PIECE_BYTES, self._at):
            self._at += len(piece)
            text = self._decoder.decode(piece)
            self.kept = (self.kept + text)[-KEPT_CHARS_MAX:]
            self._hunt(text)
            if self.at_once:
                self._show(text)
        if show and not self.at_once:
            self._show(self.kept)

    def _show(self, text: str) -> None:
        stream = getattr(sys, self._name)
        stream.write(text)
        stream.flush()

    def _hunt(self, text: str) -> None:
        if self._look is None:
            return
        *lines, self._line = (self._line + text).split("\n")
        self._line = self._line[-KEPT_CHARS_MAX:]
        for line in lines:
            self._look(line)

    def last_line(self) -> None:
        """A last line may have no end."""
        if self._look is not None and self._line:
            self._look(self._line)
            self._line = ""


class _Streams:
    """The captured streams of one program."""

    def __init__(self) -> None:
        self._streams: dict[str, _Stream] = {}

    def __enter__(self) -> _Streams:
        return self

    def __exit__(self, *_: object) -> None:
        for stream in self._streams.values():
            stream.file.close()

    def add(self, name: str, at_once: bool, look: Callable[[str], None] | None) -> None:
        """Capture ``stdout`` or ``stderr``."""
        self._streams[name] = _Stream(name, at_once, look)

    def files(self) -> dict[str, Any]:
        """Return the arguments for the start of the program."""
        return {name: stream.file for name, stream in self._streams.items()}

    def pass_on(self, everything: bool | None = None) -> None:
        """Show what is new; given ``everything``, for the last time. True: what was held, too."""
        for stream in self._streams.values():
            stream.pass_on(show=bool(everything))
            if everything is not None:
                stream.last_line()

    def end_of(self, name: str) -> str | None:
        """Return the last of what a stream had, or None where it was not captured."""
        return self._streams[name].kept if name in self._streams else None


def _wait(program: subprocess.Popen[bytes], meanwhile: Callable[[], None]) -> None:
    """Wait for a program to end, doing something now and then."""
    try:
        handle = os.pidfd_open(program.pid)
    except OSError:  # an old kernel
        handle = -1
    try:
        poll = select.poll()
        if handle >= 0:
            poll.register(handle, select.POLLIN)
        while program.poll() is None:
            poll.poll(PASS_ON_S * 1000)
            meanwhile()
    finally:
        if handle >= 0:
            os.close(handle)
