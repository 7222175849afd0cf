"""Which coordinator a command talks to, and what to say when nobody answers there."""

from __future__ import annotations

from typing import NamedTuple

from flow.errors import Unreachable


class Address(NamedTuple):
    """An address and where it came from, in words; and what else ``[core]`` says."""

    text: str
    source: str
    project: str
    strict_code: bool = False
    code_dir: str = ""


def find(flag: str | None = None) -> Address:
    """Choose the address: flag, environment, ``flow.toml``, default."""
    from flow.settings.sections import load

    settings = load({"core.coordinator": _complete(flag) if flag else None})
    address = _complete(settings.core.coordinator)
    core = settings.core
    source = settings.source("core.coordinator")
    return Address(address, source, core.project, core.strict_code, core.code_dir)


def explain_unreachable(error: Unreachable, address: Address, task: str = "") -> Unreachable:
    """Add where the address came from and what to type next."""
    text = str(error)
    if text.endswith(")"):
        text = f"{text[:-1]}; address from {address.source})"
    lines = ["Start one here:      flow-coordinator & flow-worker &"]
    if task:
        lines.append(f"Or run without one:  flow run {task}")
    lines.append("Or name yours:       export FLOW_COORDINATOR=tcp://HOST:5570")
    return Unreachable(text, hint="\n".join(lines))


def _complete(text: str) -> str:
    """Accept HOST:PORT."""
    return text if "://" in text else f"tcp://{text}"
