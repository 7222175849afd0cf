"""The flags of Luigi's command line: what each means here, as data.

A flag ``--section-option`` sets what ``[section] option`` of ``luigi.cfg`` sets. Some of that flow
has too, as a setting of its own; of the rest one sentence says what takes its place.

Source: the ``Config`` classes of Luigi 3.8.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_NO_SCHEDULER: Final = "no scheduler is asked: the tasks run here; flow submit uses a coordinator"
_NO_LUIGID: Final = "it is about luigid, which flow does not use"
_ALWAYS: Final = "flow always does so"
_NO_LOOP: Final = "flow waits for what happens and does not ask again and again"
_SUMMED_UP: Final = "one mail tells of many failures: [email] failures_max, interval_s"


class Flag(NamedTuple):
    """One flag. Without a setting it has no effect, and ``why`` says why."""

    metavar: str  #: of the text behind it; empty: it takes none
    setting: str = ""  #: ``section.key`` of flow's settings
    why: str = ""


#: Those without a section: [core].
CORE: Final = {
    "local_scheduler": Flag("", why="it is so anyway"),
    "module": Flag("MODULE", why="MODULE is the first word"),
    "scheduler_host": Flag("HOST", why=_NO_SCHEDULER),
    "scheduler_port": Flag("PORT", why=_NO_SCHEDULER),
    "scheduler_url": Flag("URL", why=_NO_SCHEDULER),
    "log_level": Flag("LEVEL", "logs.level"),
    "logging_conf_file": Flag("FILE", "logs.config"),
    "no_lock": Flag("", why="no lock file is taken"),
    "take_lock": Flag("", why="no lock file is taken"),
    "lock_size": Flag("N", why="no lock file is taken"),
    "lock_pid_dir": Flag("DIR", why="no lock file is taken"),
    "parallel_scheduling": Flag("", why=_ALWAYS),
    "parallel_scheduling_processes": Flag("N", why="worker.planners in the settings"),
    "assistant": Flag("", why="flow-worker runs the tasks of anybody"),
    "help_all": Flag("", why="--help shows the parameters of TASK"),
}
_WORKER: Final = {
    "id": Flag("TEXT", why="flow-worker --name names a worker"),
    "ping_interval": Flag("SECONDS", why="coordinator.heartbeat_s in the settings"),
    "keep_alive": Flag("", why="a run always waits for all its tasks"),
    "count_uniques": Flag("", why="a run always waits for all its tasks"),
    "count_last_scheduled": Flag("", why="a run always waits for all its tasks"),
    "max_keep_alive_idle_duration": Flag("TIME", why="--timeout TIME bounds a run"),
    "wait_interval": Flag("SECONDS", why=_NO_LOOP),
    "wait_jitter": Flag("SECONDS", why=_NO_LOOP),
    "max_reschedules": Flag("N", why="a task starts when all it requires is done, not before"),
    "timeout": Flag("SECONDS", "retry.timeout_s"),
    "task_limit": Flag("N", why="there is no such limit: all that TASK requires is run"),
    "retry_external_tasks": Flag("", why="--wait-for-external SECONDS waits for external data"),
    "send_failure_email": Flag("", why="mail is sent unless [email] format is none"),
    "no_install_shutdown_handler": Flag("", why="tasks keep their signal handlers"),
    "check_unfulfilled_deps": Flag("", why=_ALWAYS),
    "check_complete_on_run": Flag("", why=_ALWAYS),
    "force_multiprocessing": Flag("", why=_ALWAYS),
    "task_process_context": Flag("CLASS", "worker.task_process_context"),
    "cache_task_completion": Flag("", why=_ALWAYS),
}
_SCHEDULER: Final = {
    "retry_count": Flag("N", "retry.count"),
    "retry_delay": Flag("SECONDS", "retry.delay_s"),
    "disable_window": Flag("SECONDS", "retry.disable_window_s"),
    "disable_hard_timeout": Flag("SECONDS", "retry.disable_hard_timeout_s"),
    "disable_persist": Flag("SECONDS", why="flow retry takes up a disabled task again"),
    "remove_delay": Flag("SECONDS", why="coordinator.history_runs_max in the settings"),
    "worker_disconnect_delay": Flag("SECONDS", why="coordinator.lease_s in the settings"),
    "state_path": Flag("FILE", why="--state-dir DIR keeps the state"),
    "batch_emails": Flag("", why=_SUMMED_UP),
    "record_task_history": Flag("", why="coordinator.history_runs_max in the settings"),
    "prune_on_get_work": Flag("", why=_NO_LUIGID),
    "max_shown_tasks": Flag("N", why=_NO_LUIGID),
    "max_graph_nodes": Flag("N", why=_NO_LUIGID),
    "pause_enabled": Flag("", why=_NO_LUIGID),
    "send_messages": Flag("", why="flow message TASK TEXT; a task says accepts_messages"),
    "metrics_collector": Flag("NAME", why=_NO_LUIGID),
    "metrics_custom_import": Flag("CLASS", why=_NO_LUIGID),
    "stable_done_cooldown_secs": Flag("N", why=_NO_LUIGID),
}
_EMAIL: Final = {
    "receiver": Flag("ADDRESS", "email.receiver"),
    "sender": Flag("ADDRESS", "email.sender"),
    "prefix": Flag("TEXT", "email.prefix"),
    "format": Flag("NAME", "email.format"),
    "force_send": Flag("", "email.force_send"),
    "traceback_max_length": Flag("N", "email.traceback_characters_max"),
    "method": Flag("NAME", why="mail is sent by SMTP alone"),
}
_SMTP: Final = {
    "host": Flag("HOST", "smtp.host"),
    "port": Flag("N", "smtp.port"),
    "username": Flag("NAME", "smtp.username"),
    "password": Flag("TEXT", "smtp.password"),
    "ssl": Flag("", "smtp.ssl"),
    "no_tls": Flag("", "smtp.no_tls"),
    "timeout": Flag("SECONDS", "smtp.timeout_s"),
    "local_hostname": Flag("HOST", "smtp.local_hostname"),
}
_BATCH_EMAIL: Final = {
    "email_interval": Flag("N", why=_SUMMED_UP),
    "batch_mode": Flag("NAME", why=_SUMMED_UP),
    "error_lines": Flag("N", why=_SUMMED_UP),
    "error_messages": Flag("N", why=_SUMMED_UP),
    "group_by_error_messages": Flag("", why=_SUMMED_UP),
}
#: What the process exits with, by what happened: see ``flow.client.exitcodes``.
RETCODES: Final = (
    *("unhandled_exception", "missing_data", "task_failed"),
    *("scheduling_error", "not_run"),
)
#: Section of luigi.cfg -> option -> its flag.
SECTIONS: Final = {
    "worker": _WORKER,
    "scheduler": _SCHEDULER,
    "email": _EMAIL,
    "smtp": _SMTP,
    "batch_email": _BATCH_EMAIL,
    "sendgrid": {"apikey": Flag("TEXT", why="mail is sent by SMTP alone")},
    "execution_summary": {"summary_length": Flag("N", why="--summary full shows all of it")},
    "retcode": {
        **{name: Flag("N", f"retcode.{name}") for name in RETCODES},
        "already_running": Flag("N", why="no lock file is taken"),
    },
}
#: What people expect of a command line, and neither Luigi nor flow has.
_WISHES: Final = {
    "dry_run": "flow graph MODULE TASK shows what would run",
    "force": "what is complete is not run again: remove its output, flow clean MODULE TASK does",
}


def flags() -> dict[str, Flag]:
    """Return all flags, by name: ``worker_keep_alive``, ``local_scheduler``."""
    of_sections = {
        f"{section}_{option}": flag
        for section, options in SECTIONS.items()
        for option, flag in options.items()
    }
    return {**of_sections, **CORE}


def shortened(name: str) -> list[str]:
    """Return the flags of Luigi that begin like this, as they are spelled."""
    return [f"--{each.replace('_', '-')}" for each in flags() if each.startswith(name)]


def explain(name: str) -> str:
    """Say in a sentence what was meant by a name that is no parameter; empty: nobody knows."""
    flag = flags().get(name)
    spelled = f"--{name.replace('_', '-')}"
    if flag is not None:
        told = flag.why or f"{flag.setting} in the settings"
        return f"{spelled} is an option of Luigi's command line; here: {told}"
    if name in _WISHES:
        return f"There is no {spelled}: {_WISHES[name]}"
    whole = shortened(name)
    return f"Options of Luigi are written whole: {' or '.join(whole[:3])}" if whole else ""
