"""What ``luigi.cfg`` and a luigi task say about how the engine treats the task.

Of luigi's options these count, and only where a file sets them: ``[scheduler] retry_count``,
``retry_delay``, ``disable_window``, ``disable_hard_timeout``; ``[worker] timeout``,
``check_complete_on_run`` (``false`` also turns flow's own look at the outputs off),
``task_process_context``; what luigi's logging reads.
``[resources]`` is for ``flow.settings.luigi_sections``, a task's own section for luigi itself.

The rest of ``[core]``, ``[worker]`` and ``[scheduler]`` is about processes that do not exist here:
``keep_alive``, ``wait_interval``, ``max_reschedules``, ``check_unfulfilled_deps`` (no task starts
before what it requires has ended), ``cache_task_completion``, ``parallel_scheduling`` (always),
``retry_external_tasks``, ``task_limit``, ``remove_delay``, ``disable_persist``, and the default of
``retry_count``, 999999999: one attempt unless something says more. ``[retcode]`` and ``[email]``
are read by ``flow.settings.luigi_sections``.
"""

from __future__ import annotations

import os
from typing import Any, Final

import luigi
import luigi.configuration

from flow.parameters import errors
from flow.task import Task

#: Set in the processes of workers.
WORKER_MARK: Final = "FLOW_WORKER"
# luigi's own types are incomplete.
_get_config: Any = luigi.configuration.get_config


class LuigiPolicy:
    """A luigi task with the attributes that a task of flow has besides, and luigi.cfg's say."""

    __slots__ = ("_task",)

    def __init__(self, task: Any) -> None:
        self._task = task

    def __getattr__(self, name: str) -> Any:
        known = name in vars(self._task) or hasattr(type(self._task), name)
        if known and not _is_only_a_parameter(self._task, name):
            return getattr(self._task, name)  # whatever a property raises
        default = getattr(Task, name, None)
        return None if callable(default) else default

    @property
    def retry_count(self) -> Any:
        """Failed attempts after which the task is failed; None: flow's setting."""
        return _first(self._task, "retry_count", "scheduler", int)

    @property
    def retry_delay(self) -> Any:
        """Seconds before the second attempt; None: flow's setting."""
        return _first(self._task, "retry_delay", "scheduler", float)

    @property
    def disable_window(self) -> Any:
        """Only failures of the last so many seconds count; None: flow's setting."""
        return _first(self._task, "disable_window", "scheduler", float)

    @property
    def disable_hard_timeout(self) -> Any:
        """Seconds since the first failure after which one more is the last; None: flow's."""
        return _first(self._task, "disable_hard_timeout", "scheduler", float)

    @property
    def worker_timeout(self) -> Any:
        """Seconds an attempt may take; None: flow's setting, 0: no limit."""
        own = self._task.worker_timeout
        return configured("worker", "timeout", float) if own is None else own

    def owner_list(self) -> list[str]:
        """Return the addresses of ``owner_email``."""
        return [str(owner).strip() for owner in self._task._owner_list()]


def set_up_logging() -> None:
    """Set up logging as luigi's own worker would, if luigi's configuration says how."""
    options = ("log_level", "logging_conf_file", "no_configure_logging")
    config = _get_config()
    if WORKER_MARK not in os.environ:
        return  # a program around has its own way of logging
    if "logging" not in getattr(config, "data", ()) and not any(
        config.has_option("core", each) for each in options
    ):
        return
    import luigi.interface  # few settings ask for it
    import luigi.setup_logging

    setup: Any = luigi.setup_logging.InterfaceLogging.setup
    core: Any = luigi.interface.core
    setup(core())


def configured(section: str, option: str, read: Any) -> Any:
    """Return an option of luigi's configuration if a file sets it, else None."""
    config = _get_config()
    if not config.has_option(section, option):
        return None
    text = config.get(section, option)
    try:
        return read(text)
    except ValueError:
        raise errors.BadParameter(
            f"luigi's configuration has [{section}] {option} = {errors.shown(text)}"
        ) from None


def _first(task: Any, name: str, section: str, read: Any) -> Any:
    own = None if _is_only_a_parameter(task, name) else getattr(task, name, None)
    return configured(section, name, read) if own is None else own


def _is_only_a_parameter(task: Any, name: str) -> bool:
    """Tell whether a task has a parameter whose name means something here by chance.

    It means it to flow only, or the value cannot be meant: luigi looks at it after failures only.
    """
    declared = getattr(type(task), name, None)
    if not isinstance(declared, luigi.Parameter):
        return False
    return not hasattr(luigi.Task, name) or isinstance(getattr(task, name), str)


def as_bool(text: Any) -> bool:
    """Read what configuration files take for true and false. Raises ``ValueError``."""
    if str(text).lower() not in ("true", "false", "1", "0", "yes", "no", "on", "off"):
        raise ValueError
    return str(text).lower() in ("true", "1", "yes", "on")
