"""Batches on the coordinator's core: graphs of tasks that may run as one, and their grants."""

from __future__ import annotations

from typing import Any

from flow.wire.messages.shared import Grant, Policy, readable_params
from tests.support.core_env import Env, FakeWorker, Graph


def names(grant: Grant) -> list[str]:
    """Tell what a grant runs."""
    return [readable_params(params)["name"] for params in grant.members or [grant.params]]


def batchable(*members: str, **fields: Any) -> Graph:
    """Make a top that requires tasks which may run as one."""
    policy = Policy(batched=["name"], **fields)
    graph = Graph({"top": list(members)}, dict.fromkeys(members, policy))
    graph.external.add("never")
    return graph


def submit_open(env: Env, *roots: str) -> None:
    """Submit a run that stays open, so that its tasks can be looked at when they ended."""
    env.submit(*roots, "never", wait_external_s=1e6)


def granted(env: Env, *members: str, slots: int = 1, **fields: Any) -> tuple[FakeWorker, Grant]:
    """Have these granted as one."""
    worker = env.worker(slots=slots)
    env.graph = batchable(*members, **fields)
    submit_open(env, "top")
    (grant,) = worker.take()
    assert names(grant) == list(members)
    env.check()
    return worker, grant
