"""``flow submit``: hand a task to a coordinator, and watch it run there."""

from __future__ import annotations

import shlex
import sys
import time
from typing import TYPE_CHECKING, Any

from flow.cli import uploading
from flow.client.address import Address, explain_unreachable, find
from flow.client.options import SUBMIT, describe, submit_options
from flow.errors import ExitCode, Unreachable, UsageError
from flow.settings.taskline import TaskLine, parse

if TYPE_CHECKING:
    from flow.client.client import Client
    from flow.client.views import View
    from flow.wire.messages.client import Failure

HELP = """\
Run TASK of MODULE on the workers of a coordinator, and show how it goes. This machine needs
neither the module nor what it imports. With --code-dir DIR the workers do not need it either: the
files of DIR are sent to them, and come first on sys.path there; a script must be inside DIR.

Everything spelled --x-y VALUE that is no option below is the parameter x_y of TASK (--TASK-x-y
VALUE always is, and so is everything after --). --OTHER-x-y VALUE is the default of x_y for the
tasks of family OTHER that this run plans. Runs of a project share tasks: one that another run has
planned already keeps the values it was planned with.

Ctrl-C detaches: the run goes on. Twice within 2 s: asks whether to cancel it."""


def main(argv: list[str]) -> int:
    """Submit what the command line says; return the exit code."""
    line = parse(argv, SUBMIT)
    if line.help:
        usage = "flow submit [OPTIONS] MODULE TASK [--param VALUE ...]"
        print(describe(usage, HELP, SUBMIT))
        return int(ExitCode.OK)
    if not line.family:
        what = "no TASK given" if line.module else "no MODULE and no TASK given"
        module = line.module.removeprefix("file:") or "MODULE"
        raise UsageError(
            f"{what}: flow submit MODULE TASK [--param VALUE ...]",
            hint=f"The tasks of a module you have here:  flow run {module}",
        )
    address = find(line.options.get("coordinator"))
    from flow.client.client import Client

    try:
        with Client(address.text) as client:
            return _submit(client, line, address)
    except Unreachable as e:
        raise explain_unreachable(e, address, _typed(line)) from None


def _typed(line: TaskLine) -> str:
    """Write the task and its parameters as they can be typed again."""
    params = [f"--{name.replace('_', '-')}={text}" for name, text in line.params.items()]
    return shlex.join([line.module.removeprefix("file:"), line.family, *params])


def _submit(client: Client, line: TaskLine, address: Address) -> int:
    from flow.client.views import choose
    from flow.wire.ids import new_uid
    from flow.wire.messages.client import About, AboutShown, RootTask, Submit

    options = {"strict_code": address.strict_code, **line.options}
    quiet = options.get("quiet", False)
    view = choose(
        json=options.get("json", False),
        quiet=quiet,
        color=not options.get("no_color", False),
        hints=True,
    )
    folder = options.get("code_dir", address.code_dir)
    module = uploading.inside(line.module, folder) if folder else line.module
    packed = uploading.pack(folder) if folder else None
    about = client.ask(About(0), AboutShown)
    if packed is not None:
        uploading.upload(client, packed, quiet=quiet)
    root = RootTask(module, line.family, line.root)
    project = options.get("project", address.project)
    package = packed.digest if packed is not None else ""
    with_options = submit_options(options, line.qualified, package=package)
    submit = Submit(0, new_uid(), project, [root], with_options)
    submitted = client.submit(submit)
    if options.get("detach"):
        _detached(submitted, json=options.get("json", False))
        return int(ExitCode.OK)
    if not quiet:
        view.say(_coordinator_line(client.address, about))
    return watch(client, submitted.run, submitted.name, view, options)


def watch(client: Client, run: str, name: str, view: View, options: dict[str, Any]) -> int:
    """Show a run until it ends or the person leaves; return the exit code."""
    from flow.client.exitcodes import exit_code
    from flow.client.finish import words
    from flow.client.follow import follow
    from flow.client.interrupts import Interrupts

    size = options.get("summary", "none" if options.get("quiet") else "short")
    policy = Detaching(client, run, view, cancel=options.get("cancel_on_timeout", False))
    with Interrupts() as interrupts:
        try:
            view.accepted(run, name)
            ended = follow(client, run, view, policy, interrupts, timeout_s=options.get("timeout"))
        finally:
            view.close()
    if ended.summary:
        view.ended(ended.summary)
        text = words(ended.summary, size, hints=True)
        if text and not options.get("json"):
            print(text, flush=True)
    return exit_code(ended.code, ended.summary)


class Detaching:
    """Ctrl-C leaves the run alone; a second one offers to cancel it."""

    def __init__(self, client: Client, run: str, view: View, *, cancel: bool) -> None:
        self._client, self._run, self._view = client, run, view
        self._cancel_on_timeout = cancel
        self._leave_at: float | None = None

    def pressed(self, presses: int) -> int | None:
        """Detach at the first press, ask at the second."""
        from flow.client.interrupts import SECOND_PRESS_S

        if self._leave_at is None:
            self._view.close()
            self._view.say(
                f"\nDetached: the run goes on.   To follow it again: flow status -f {self._run}"
                f"   To end it: flow cancel {self._run}"
            )
            if not sys.stdin.isatty():
                return int(ExitCode.INTERRUPTED)
            self._view.say("Ctrl-C again to cancel it.")
            self._leave_at = time.monotonic() + SECOND_PRESS_S
            return None
        if not _confirmed("cancel the run? [y/N] "):
            return int(ExitCode.INTERRUPTED)
        self._cancel("cancelled by Ctrl-C")
        self._leave_at = float("inf")
        return None

    def tick(self) -> int | None:
        """Leave when the time for a second press is over."""
        if self._leave_at is not None and time.monotonic() >= self._leave_at:
            return int(ExitCode.INTERRUPTED)
        return None

    def timed_out(self) -> int:
        """Cancel if asked to; say what goes on otherwise."""
        self._view.close()
        if self._cancel_on_timeout:
            self._cancel("cancelled by --timeout")
        else:
            self._view.say(f"Timeout: the run goes on.   flow status -f {self._run}")
        return int(ExitCode.TIMEOUT)

    def heard(self, failures: list[Failure]) -> None:
        """The output of tasks stays on their workers."""

    def no_workers(self) -> str:
        """Name the command that helps."""
        return f"No worker has joined: flow-worker --coordinator {self._client.address}"

    def _cancel(self, reason: str) -> None:
        from flow.wire.messages.client import Cancel, Changed

        changed = self._client.ask(Cancel(0, self._run, reason), Changed)
        self._view.say(changed.text)


def _confirmed(question: str) -> bool:
    """Ask on the terminal; another Ctrl-C there says no."""
    import signal

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        print(question, end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except KeyboardInterrupt:
        return False
    finally:
        signal.signal(signal.SIGINT, before)


def _detached(submitted: object, *, json: bool) -> None:
    from flow.client.output import plain, print_json

    fields = plain(submitted)
    if json:
        print_json({"event": "submitted", **fields})
    else:
        print(f"{fields['run']}  {fields['name']}".rstrip())


def _coordinator_line(address: str, about: object) -> str:
    from flow.client.output import plain
    from flow.client.summary import duration, plural

    found = plain(about)
    up = duration(found["up_s"])
    has = f"{plural(found['workers'], 'worker')}, {plural(found['slots'], 'slot')}"
    return f"Coordinator {address} ({found['version']}, up {up}, {has})"
