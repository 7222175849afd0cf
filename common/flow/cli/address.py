"""Which coordinator a command talks to, and what to say when nobody answers there."""

from __future__ import annotations

import os
from typing import NamedTuple

from flow.errors import Unreachable

DEFAULT_ADDRESS = "tcp://127.0.0.1:5570"
VARIABLE = "FLOW_COORDINATOR"


class Address(NamedTuple):
    """An address and where it came from, in words."""

    text: str
    source: str


def find(flag: str | None = None) -> Address:
    """Choose the address: flag, environment, settings, default."""
    if flag:
        return Address(_complete(flag), "from --coordinator")
    named = os.environ.get(VARIABLE, "")
    if named:
        return Address(_complete(named), f"from {VARIABLE}")
    return Address(DEFAULT_ADDRESS, "the default")


def explain_unreachable(error: Unreachable, address: Address, task: str = "") -> Unreachable:
    """Add where the address came from and what to type next."""
    text = str(error)
    if text.endswith(")"):
        text = f"{text[:-1]}; address {address.source})"
    lines = ["Start one here:      flow-coordinator & flow-worker &"]
    if task:
        lines.append(f"Or run without one:  flow run {task}")
    lines.append(f"Or name yours:       export {VARIABLE}=tcp://HOST:5570")
    return Unreachable(text, hint="\n".join(lines))


def _complete(text: str) -> str:
    """Accept HOST:PORT."""
    return text if "://" in text else f"tcp://{text}"
