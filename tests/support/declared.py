"""All that a user can set: attributes of Task, settings, limits of the cores, and options."""

from __future__ import annotations

from collections.abc import Iterator

import click
import msgspec

from flow.cli import clean, graph, group
from flow.client import options
from flow.settings.sections import Settings
from flow.task import Task
from flow_coordinator.cli import coordinate
from flow_coordinator.core.config import CoreConfig
from flow_worker.cli import _command
from flow_worker.core.config import WorkerConfig


def declared() -> list[str]:
    """Name each, as ``Task.priority``, ``[retry] count``, ``flow submit --retry``."""
    return [*_attributes(), *_settings(), *_limits(), *_options()]


def _attributes() -> Iterator[str]:
    yield from (f"Task.{name}" for name in vars(Task) if not name.startswith("_"))


def _settings() -> Iterator[str]:
    for section in msgspec.structs.fields(Settings):
        if section.name == "sources":  # where the values came from
            continue
        if isinstance(section.type, type) and issubclass(section.type, msgspec.Struct):
            for key in msgspec.structs.fields(section.type):
                yield f"[{section.name}] {key.name}"
        else:
            yield f"[{section.name}]"


def _limits() -> Iterator[str]:
    for kind in (CoreConfig, WorkerConfig):
        yield from (f"{kind.__name__}.{each.name}" for each in msgspec.structs.fields(kind))


def _options() -> Iterator[str]:
    own = {
        "run": options.RUN,
        "submit": options.SUBMIT,
        "graph": graph.OPTIONS,
        "clean": clean.OPTIONS,
    }
    for name, table in own.items():
        yield from (f"flow {name} {each.names[0]}" for each in table)
    root = next(each for each in vars(group).values() if isinstance(each, click.Group))
    context = click.Context(root)
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        if command is not None and name not in own:
            yield from _of(f"flow {name}", command)
    yield from _of("flow-coordinator", coordinate)
    yield from _of("flow-worker", _command)


def _of(name: str, command: click.Command) -> Iterator[str]:
    for param in command.params:
        if isinstance(param, click.Option):
            yield f"{name} {param.opts[0]}"
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from _of(f"{name} {below.name}", below)
