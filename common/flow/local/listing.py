"""The tasks of a module and the parameters of a task, from their classes."""

from __future__ import annotations

import os
import sys
from typing import Any

from flow.visible import printable

_INDENT = "    "


def load(module: str) -> list[str]:
    """Import a module here, as a task process would; return the families it defines."""
    from flow.modules.loading import families_of, load_module

    add_path()
    load_module(module)
    return families_of(module)


def module_text(module: str) -> str:
    """List the tasks of a module, with the first line of what each says it does."""
    from flow.modules.loading import load_task_class

    shown = module.removeprefix("file:")
    families = load(module)
    if not families:
        return f"{shown} defines no tasks"
    width = max(len(each) for each in families)
    lines = [
        f"  {family.ljust(width)}  {_first_line(load_task_class(module, family))}".rstrip()
        for family in families
    ]
    usage = f"Parameters of one:  flow run {shown} TASK --help"
    return "\n".join([f"Tasks of {shown}:", *lines, "", usage])


def task_text(module: str, family: str) -> str:
    """Describe one task of a module."""
    from flow.modules.loading import load_task_class

    add_path()
    cls = load_task_class(module, family)
    return describe_task(cls, f"flow run {module.removeprefix('file:')} {family}")


def describe_task(cls: Any, usage: str) -> str:
    """Describe a task: its docstring, and each parameter with type, default, description."""
    from flow.client.options import RUN, SUBMIT
    from flow.parameters.errors import flag
    from flow.seam import NATIVE

    lines = [f"{usage} [--param VALUE ...]"]
    about = (cls.__doc__ or "").strip()
    if about and "__doc__" in vars(cls):
        lines += ["", *(line.strip() and f"  {line.strip()}" for line in about.splitlines())]
    params = cls.get_params()
    taken = {"help", *(each.names[0][2:].replace("-", "_") for each in (*RUN, *SUBMIT))}
    lines += ["", "Parameters:" if params else "It has no parameters."]
    for name, param in params:
        own = name in taken
        spelled = flag(f"{cls.get_task_family()}_{name}") if own else flag(name)
        lines += _describe_param(cls, spelled, name, param)
    others = [each for each in NATIVE.always_in_help() if each[0] is not cls]
    if others:
        lines += ["", "Of other tasks:"]
    for other, name, param in others:
        lines += _describe_param(other, flag(f"{other.get_task_family()}_{name}"), name, param)
    return "\n".join(lines)


def _describe_param(cls: Any, spelled: str, name: str, param: Any) -> list[str]:
    lines = [f"  {spelled}  {_kind(cls, param)}  {_default(cls, name, param)}".rstrip()]
    if param.description:
        lines.append(f"{_INDENT}{printable(param.description)}")
    return lines


def add_path() -> None:
    """Find modules in the current directory, as the task processes of ``flow run`` do."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)


def _first_line(cls: Any) -> str:
    about = vars(cls).get("__doc__") or ""
    return about.strip().splitlines()[0] if about.strip() else ""


def _kind(cls: Any, param: Any) -> str:
    from flow.seam import dialect_of

    what = dialect_of(cls).what(param)
    return f"({type(param).__name__}: {what})" if what else f"({type(param).__name__})"


def _default(cls: Any, name: str, param: Any) -> str:
    from flow.parameters.base import NO_VALUE
    from flow.seam import dialect_of

    source, value = dialect_of(cls).default_of(cls, name, param)
    if source:
        return f"[default: {printable(value)}, from {source}]"
    if value is NO_VALUE:
        return "required"
    try:
        text = param.serialize(value)
    except Exception:  # serialize() may be a user's
        text = repr(value)
    return f"[default: {printable(text)}]" if text else '[default: ""]'
