"""Which failures the coordinator core wants people to be told of."""

from __future__ import annotations

from flow.wire.messages.shared import Outcome, Policy
from flow_coordinator.core.config import CoreConfig
from tests.support.core_env import Env, Graph


def test_failure_for_good_alerts_with_run_and_owners() -> None:
    env = Env()
    env.graph = Graph({"top": ["a"], "a": []}, {"a": Policy(owners=["me@x.org"])})
    worker = env.worker()
    env.submit("top")
    worker.end(*worker.take(), outcome=Outcome.FAILED, error="ValueError: x")
    (alert,) = env.alerts
    assert (alert.run, alert.owners) == ("r-1", ["me@x.org"])
    assert alert.failure.task_id == "T_a"
    assert alert.failure.error == "ValueError: x"


def test_failure_that_is_tried_again_alerts_only_at_the_last() -> None:
    env = Env(CoreConfig(retry_count=2, retry_delay_s=1, retry_jitter=0))
    env.graph = Graph({"a": []})
    worker = env.worker()
    env.submit("a")
    worker.end(*worker.take(), outcome=Outcome.FAILED, error="first")
    assert env.alerts == []
    worker.beat()
    env.wait(1.1)
    worker.end(*worker.take(), outcome=Outcome.FAILED, error="second")
    assert [alert.failure.error for alert in env.alerts] == ["second"]


def test_failure_of_two_runs_alerts_for_each() -> None:
    env = Env()
    env.graph = Graph({"one": ["a"], "two": ["a"], "a": []})
    worker = env.worker()
    env.submit("one")
    env.submit("two")
    worker.end(*worker.take(), outcome=Outcome.FAILED, error="x")
    assert [alert.run for alert in env.alerts] == ["r-1", "r-2"]


def test_task_that_cannot_be_planned_alerts() -> None:
    env = Env()
    env.graph = Graph({"top": ["a"], "a": []})
    env.graph.errors["", "a"] = ("requires", "KeyError: no source")
    env.worker()
    env.submit("top")
    assert [alert.failure.kind for alert in env.alerts] == ["planning"]


def test_success_and_upstream_failures_alert_nobody() -> None:
    env = Env()
    env.graph = Graph({"top": ["mid"], "mid": ["a"], "a": []})
    worker = env.worker()
    env.submit("top")
    worker.run("a")
    worker.end(*worker.take(), outcome=Outcome.FAILED, error="x")
    assert [alert.failure.task_id for alert in env.alerts] == ["T_mid"]
