"""flow's own options of ``run`` and ``submit``, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flow.settings.taskline import Option, duration_s, one_of, whole_number

if TYPE_CHECKING:
    from flow.wire.messages.client import SubmitOptions

COMMON = (
    Option(("--name",), "name of the run, instead of a made-up one", str, "TEXT"),
    Option(("--project",), "scope of task ids: teams do not meet", str, "NAME"),
    Option(("--priority",), "added to the priority of every task", float, "N"),
    Option(("--retry",), "attempts of tasks that do not say themselves", whole_number, "N"),
    Option(("--fail-fast",), "stop at the first failed task", key="fail_fast"),
    Option(
        ("--keep-going",),
        "run what does not need a failed task (default)",
        key="fail_fast",
        value=False,
    ),
    Option(
        ("--wait-for-external",),
        "how long to wait for missing external data",
        duration_s,
        "SECONDS",
    ),
    Option(("--timeout",), "stop waiting after, for example, 90s, 30m, 2h", duration_s, "TIME"),
    Option(
        ("--summary",), "how much of it (default short)", one_of("none", "short", "full"), "SIZE"
    ),
    Option(("--json",), "one JSON object per event on stdout, the result last"),
    Option(("--quiet", "-q"), "say only what failed"),
    Option(("--no-color",), "no colours (as NO_COLOR)"),
)
RUN = (
    Option(("--workers",), "tasks at the same time (default: CPUs)", whole_number, "N"),
    Option(("--in-process",), "one task at a time in this very process: for debuggers"),
    Option(("--state-dir",), "keep the state in this directory", str, "DIR"),
    *COMMON,
)
SUBMIT = (
    Option(("--coordinator",), "where the coordinator listens", str, "ADDR"),
    Option(("--code-dir",), "send this folder's code to the workers (.flowignore)", str, "DIR"),
    Option(("--detach", "-d"), "return as soon as the run is stored"),
    Option(("--cancel-on-timeout",), "cancel the run when --timeout is over"),
    Option(("--strict-code",), "run nothing with other code than planned it: rather end it"),
    *COMMON,
)

#: What msgpack puts before a map or a text at most.
_GIVEN_HEAD_BYTES = 5

EXIT_CODES = """\
Exit codes (others where [retcode] of the settings says so):
    0  TASK is complete (also after retries); with --detach: the run is stored
    2  wrong usage, unknown task, bad parameter
   20  external data is missing
   25  left unrun (disabled, no worker fits, limit)
   30  a task failed
   35  scheduling failed: requires(), complete() or the import raised
   40  internal error of flow
   50  cancelled
   60  coordinator unreachable, or connection lost for too long
   61  refused: version or address
   78  settings, state directory or environment do not allow a start
  124  --timeout is over; a submitted run goes on unless --cancel-on-timeout
  130  interrupted; a submitted run goes on: Ctrl-C only detaches from it"""


def submit_options(
    options: dict[str, Any], qualified: dict[str, str], *, alone: bool = False, package: str = ""
) -> SubmitOptions:
    """Make what SUBMIT carries of the command line. ``alone``: no other worker will ever join."""
    from flow.wire.messages.client import SubmitOptions

    return SubmitOptions(
        name=options.get("name", ""),
        priority=options.get("priority", 0.0),
        retry_count=options.get("retry"),
        fail_fast=options.get("fail_fast", False),
        wait_external_s=options.get("wait_for_external", 0.0),
        wait_unmet=not alone,
        by=_by(),
        given=spell_given(qualified),
        strict_code=options.get("strict_code", False),
        package=package,
    )


def spell_given(qualified: dict[str, str]) -> bytes:
    """Pack what may be meant for other tasks than the root, the shortest values while they fit.

    A longer one is for the root alone; where the root has no such parameter, planning says so.
    """
    if not qualified:
        return b""
    from flow.wire.messages.client import GIVEN_BYTES_MAX
    from flow.wire.params import pack_params

    kept: dict[str, str] = {}
    left_bytes = GIVEN_BYTES_MAX - _GIVEN_HEAD_BYTES
    for name, text in sorted(qualified.items(), key=lambda pair: (len(pair[1]), pair[0])):
        try:
            left_bytes -= len(name.encode()) + len(text.encode()) + 2 * _GIVEN_HEAD_BYTES
        except UnicodeEncodeError:
            continue  # the root's own parameters say what is wrong with it
        if left_bytes < 0:
            break
        kept[name] = text
    return pack_params(dict(sorted(kept.items()))) if kept else b""


def _by() -> str:
    """Say who submits, for display: user@host."""
    import getpass
    import socket

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no entry for this uid, as in many containers
        user = "?"
    return f"{user}@{socket.gethostname().partition('.')[0]}"


def describe(
    usage: str, about: str, options: tuple[Option, ...], exit_codes: str = EXIT_CODES
) -> str:
    """Write the help of a command that mixes its options with those of a task."""
    names = {
        each: "    " * (not each.names[0].startswith("--"))
        + ", ".join(reversed(each.names))
        + (f" {each.metavar}" if each.metavar else "")
        for each in options
    }
    width = max(len(text) for text in names.values())
    lines = [f"  {text.ljust(width)}  {each.help}" for each, text in names.items()]
    return "\n".join([f"Usage: {usage}", "", about, "", "Options:", *lines, "", exit_codes])
