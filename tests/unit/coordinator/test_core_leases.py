"""Who may run a task: rules C1-C9, silence and fast release."""

from __future__ import annotations

import pytest

from flow.wire.messages import client
from flow.wire.messages import worker as wire
from flow.wire.messages.shared import PROTOCOL, Grant, Outcome, Policy, Timing, Verdict
from flow.wire.states import TaskState
from flow_coordinator.core.config import CoreConfig
from flow_coordinator.core.effects import Send, SendNow
from flow_coordinator.core.events import (
    PeerUnreachable,
    Received,
    StoreResumed,
    StoreStalled,
    TurnEnded,
)
from flow_coordinator.core.timers import Timer
from tests.support.core_env import Env, FakeWorker, Graph

S = TaskState
TIMING = Timing()


def granted(env: Env, worker: FakeWorker | None = None, name: str = "a") -> Grant:
    """Submit one task and take its grant."""
    env.graph = Graph({name: []})
    worker = worker or env.worker()
    env.submit(name)
    (grant,) = worker.take()
    return grant


# ---------------------------------------------------------------- C1: persist, then speak


def test_grant_is_among_the_changes_when_its_dispatch_is_said() -> None:
    env = Env()
    env.worker("p", slots=0)
    env.graph = Graph({"a": []})
    env.submit("a")
    late = FakeWorker(env, "late", 1)
    env.say(late.peer, wire.Hello(late.uid, PROTOCOL))
    (challenge,) = env.heard(late.peer, wire.Challenge)
    join = late.join_message(challenge.nonce)
    env.core.handle(Received(late.peer, join), env.now)
    effects = env.core.handle(TurnEnded(), env.now)
    (said,) = [e for e in effects if isinstance(getattr(e, "message", None), wire.Dispatch)]
    assert isinstance(said, Send), "only after the commit"
    (task,) = env.core.take_changes().progress
    assert task.lease is not None
    assert [g.token for g in said.message.grants] == [task.lease.token]


def test_unreachable_dispatch_releases_what_was_never_said() -> None:
    env = Env()
    worker = env.worker()
    grant = granted(env, worker)
    other = env.worker("b")
    env.handle(PeerUnreachable(worker.peer, wire.Dispatch(worker.session, [grant])))
    env.turn()
    assert not worker.take(), "its connection is gone: no new work until it is heard"
    (again,) = other.take()
    assert again.token != grant.token
    env.check()


def test_unreachable_dispatch_keeps_what_was_said_before() -> None:
    env = Env()
    worker = env.worker()
    grant = granted(env, worker)
    env.wait(TIMING.heartbeat_s)
    worker.beat()
    assert [g.token for g in worker.take()] == [grant.token], "said again: not confirmed"
    other = env.worker("b")
    env.handle(PeerUnreachable(worker.peer, wire.Dispatch(worker.session, [grant])))
    env.turn()
    assert not other.take()
    assert env.state("a") == S.LEASED


@pytest.mark.unread("Kill")
def test_unreachable_dispatch_of_a_cancelled_task_ends_it() -> None:
    env = Env()
    worker = env.worker()
    grant = granted(env, worker)
    env.ask(lambda n: client.Cancel(n, "T_a"), client.Changed)
    env.handle(PeerUnreachable(worker.peer, wire.Dispatch(worker.session, [grant])))
    env.turn()
    assert env.ended() == 50


def test_grant_repeated_in_the_turn_that_moves_it_elsewhere_is_not_said() -> None:
    env = Env()
    worker = env.worker("a", slots=1)
    grant = granted(env, worker)
    other = env.worker("b", slots=1)
    env.wait(TIMING.heartbeat_s)
    worker.beats += 1
    beat = wire.Heartbeat(worker.session, worker.beats, True)
    env.say(worker.peer, beat, end_turn=False)
    worker.end(grant, outcome=Outcome.RELEASED)
    assert not worker.take()
    assert len(other.take()) == 1


# ---------------------------------------------------------------- C2, C3: how a lease ends


@pytest.mark.unread("Dispatch")
@pytest.mark.parametrize("outcome", list(Outcome))
def test_report_with_its_token_ends_the_lease(outcome: Outcome) -> None:
    env = Env(CoreConfig(retry_count=5))
    worker = env.worker()
    grant = granted(env, worker)
    worker.end(grant, outcome=outcome, error="why")
    assert grant.token not in env.core.state.leases
    assert env.heard(worker.peer, wire.Rack)[-1].verdicts == [(grant.token, Verdict.COMMITTED)]
    env.check()


@pytest.mark.unread("Challenge")
def test_nothing_else_ends_a_lease() -> None:
    env = Env()
    worker = env.worker()
    grant = granted(env, worker)
    worker.start(grant)
    env.say(worker.peer, wire.Hello(worker.uid, PROTOCOL))
    env.say(b"peer-x", wire.Hello(worker.uid, PROTOCOL))
    worker.say(wire.Heartbeat(worker.session, 1, True, 0.0, 0, False))
    worker.yields(grant, 1, "dep")
    worker.say(wire.Started(worker.session, [grant.token]))
    env.wait(TIMING.term_s - 1)
    assert grant.token in env.core.state.leases
    env.check()


def test_report_repeated_gets_the_same_verdict() -> None:
    env = Env()
    worker = env.worker()
    grant = granted(env, worker)
    for _ in range(2):
        worker.end(grant)
    worker.join()
    worker.end(grant)
    racks = env.heard(worker.peer, wire.Rack)
    assert [r.verdicts for r in racks] == [[(grant.token, Verdict.COMMITTED)]] * 3


def test_report_of_an_older_grant_is_stale() -> None:
    env = Env()
    worker = env.worker("a", slots=1)
    old = granted(env, worker)
    env.wait(TIMING.term_s + 1)
    worker.join()
    (new,) = worker.take()
    worker.end(old)
    assert env.heard(worker.peer, wire.Rack)[-1].verdicts == [(old.token, Verdict.STALE)]
    assert env.state("a") == S.LEASED
    worker.end(new)
    assert env.ended() == 0


def test_report_of_another_workers_grant_is_stale() -> None:
    env = Env()
    worker = env.worker("a", slots=1)
    grant = granted(env, worker)
    other = env.worker("b")
    other.end(grant)
    assert env.heard(other.peer, wire.Rack)[-1].verdicts == [(grant.token, Verdict.STALE)]
    assert env.state("a") == S.LEASED


def test_yield_of_a_stale_token_is_refused() -> None:
    env = Env()
    worker = env.worker("a", slots=1)
    grant = granted(env, worker)
    other = env.worker("b")
    other.yields(grant, 1, "dep")
    assert env.heard(other.peer, wire.Rack)[-1].verdicts == [(grant.token, Verdict.STALE)]
    assert env.state("a") == S.LEASED


# ---------------------------------------------------------------- C6, C7: joining


@pytest.mark.unread("Challenge")
def test_hello_alone_changes_nothing() -> None:
    env = Env()
    worker = env.worker()
    grant = granted(env, worker)
    env.commit()
    env.say(b"peer-x", wire.Hello(worker.uid, PROTOCOL), end_turn=False)
    assert not env.core.state.changes
    assert env.core.state.workers[worker.uid].session == worker.session
    assert grant.token in env.core.state.leases


def test_join_with_an_old_nonce_is_ignored() -> None:
    env = Env()
    worker = env.worker()
    grant = granted(env, worker)
    env.say(worker.peer, wire.Hello(worker.uid, PROTOCOL))
    env.say(worker.peer, wire.Hello(worker.uid, PROTOCOL))
    first, second = env.heard(worker.peer, wire.Challenge)
    env.say(worker.peer, worker.join_message(first.nonce))
    assert not env.heard(worker.peer, wire.Welcome)
    assert grant.token in env.core.state.leases
    env.say(worker.peer, worker.join_message(second.nonce, held=[grant.token]))
    assert env.heard(worker.peer, wire.Welcome)


def test_join_replayed_is_ignored() -> None:
    env = Env()
    worker = FakeWorker(env, "a", 1)
    env.say(worker.peer, wire.Hello(worker.uid, PROTOCOL))
    (challenge,) = env.heard(worker.peer, wire.Challenge)
    message = worker.join_message(challenge.nonce)
    env.say(worker.peer, message)
    (welcome,) = env.heard(worker.peer, wire.Welcome)
    worker.session = welcome.session
    grant = granted(env, worker)
    env.say(worker.peer, message)
    assert not env.heard(worker.peer, wire.Welcome)
    assert grant.token in env.core.state.leases


def test_join_of_another_protocol_is_denied_with_both_numbers() -> None:
    env = Env()
    env.say(b"peer-x", wire.Hello("uid-x", (PROTOCOL[0] + 1, 0)))
    (denied,) = env.heard(b"peer-x", wire.Denied)
    assert str(PROTOCOL[0]) in denied.reason and str(PROTOCOL[0] + 1) in denied.reason
    assert not env.heard(b"peer-x", wire.Challenge)


def test_join_again_releases_what_it_does_not_list_and_keeps_the_rest() -> None:
    env = Env()
    names = ["a", "b", "c"]
    env.graph = Graph({name: [] for name in names})
    worker = env.worker(slots=2)
    env.submit(*names)
    one, two = worker.take()
    welcome = worker.join(held=[one.token, "feed.1.999"])
    assert welcome.kill == ["feed.1.999"]
    assert env.core.state.workers[worker.uid].used_slots == 2
    (again,) = worker.take()
    assert again.task_id != one.task_id and again.token != two.token
    env.check()


@pytest.mark.unread("Kill")
def test_join_names_its_doomed_leases_to_be_killed() -> None:
    env = Env()
    worker = env.worker()
    grant = granted(env, worker)
    env.ask(lambda n: client.Cancel(n, "T_a"), client.Changed)
    assert worker.join(held=[grant.token]).kill == [grant.token]


def test_wrong_session_is_told_to_join_again_and_nothing_else() -> None:
    env = Env()
    worker = env.worker()
    grant = granted(env, worker)
    old = worker.session
    worker.join(held=[grant.token])
    env.said.clear()
    for message in (
        wire.Heartbeat(old, 9),
        wire.Results(old, []),
        wire.Started(old, [grant.token]),
        wire.Drained(old),
        wire.Planned(old, 1, 0, True, b""),
        wire.Yield(old, grant.token, 1, 0, 1, []),
    ):
        env.say(worker.peer, message)
    said = env.said.pop(worker.peer)
    assert said == [wire.Rejoin(old)] * 6
    assert env.state("a") == S.RUNNING
    assert env.core.state.workers[worker.uid].heartbeat == 0


def test_session_over_another_connection_goes_on() -> None:
    env = Env()
    worker = env.worker()
    grant = granted(env, worker)
    worker.peer = b"peer-new"
    worker.beat()
    assert env.heard(b"peer-new", wire.HeartbeatAck)
    worker.end(grant)
    assert env.ended() == 0
    assert list(env.core.state.by_peer) == [b"peer-new"]


def test_old_heartbeat_renews_nothing() -> None:
    env = Env()
    worker = env.worker()
    granted(env, worker)
    worker.beat()
    env.wait(30)
    worker.say(wire.Heartbeat(worker.session, 1))
    assert len(env.heard(worker.peer, wire.HeartbeatAck)) == 1
    env.wait(TIMING.term_s - 30 + 0.01)
    assert worker.uid not in env.core.state.workers


# ---------------------------------------------------------------- C9: a full disk


@pytest.mark.unread("Held")
def test_stalled_store_grants_and_plans_nothing_and_acks_heartbeats() -> None:
    env = Env()
    env.graph = Graph({"a": [], "b": []})
    worker = env.worker(slots=1)
    env.submit("a")
    (grant,) = worker.take()
    env.handle(StoreStalled())
    worker.end(grant)
    env.submit("b")
    worker.beat()
    assert env.heard(worker.peer, wire.HeartbeatAck)
    assert not worker.take() and not env.heard(worker.peer, wire.Plan)
    assert not env.core.busy, "nothing to do at once: no spinning"
    env.handle(StoreResumed())
    env.turn()
    assert worker.run() == ["b"]


@pytest.mark.unread("Dispatch")
def test_stalled_store_is_told_to_whoever_asks_and_shows_how_things_stand() -> None:
    env = Env()
    env.graph = Graph({"a": []})
    env.worker(slots=1)
    env.submit("a")
    asker = b"client-2"
    env.say(asker, client.Watch(1, "r-1"))
    env.turn()
    assert env.heard(asker, client.RunUpdate) and not env.heard(asker, client.Held)
    env.handle(StoreStalled("the coordinator's disk is full (/state)"))
    env.say(asker, client.Watch(2, "r-1"))
    for _ in range(3):
        env.wait(1)
    (held,) = env.heard(asker, client.Held)
    assert (held.request, held.why) == (2, "the coordinator's disk is full (/state)")
    assert held.workers == 1
    assert not env.heard(asker, client.RunUpdate), "news wait until they are stored"
    for kind, ask in {
        client.Runs: client.ListRuns(3),
        client.RunShown: client.ShowRun(4, "r-1"),
        client.Tasks: client.ListTasks(5, "r-1"),
        client.Resources: client.ListResources(6),
        client.Failed: client.ShowRun(7, "r-99"),
    }.items():
        effects = env.core.handle(Received(asker, ask), env.now)
        said = [each.message for each in effects if isinstance(each, SendNow)]
        assert len(said) == len(effects) and [type(one) for one in said] == [client.Held, kind]
    env.handle(StoreResumed())
    env.turn()
    assert env.heard(asker, client.RunUpdate)


# ---------------------------------------------------------------- silence


def test_silence_suspects_first_and_expires_exactly_at_the_term() -> None:
    env = Env()
    worker = env.worker()
    granted(env, worker)
    env.wait(3)
    worker.beat()
    start = env.now
    env.wait(TIMING.suspect_s - 0.01)
    assert not env.core.state.workers[worker.uid].suspect
    env.wait(0.02)
    assert env.core.state.workers[worker.uid].suspect
    env.submit("a2")
    assert not worker.take(), "no new work for a suspect"
    env.wait(start + TIMING.lease_s * 1.01 + TIMING.margin_s - env.now - 0.01)
    assert env.state("a") == S.LEASED
    env.wait(0.02)
    assert env.state("a") == S.READY
    assert worker.uid not in env.core.state.workers
    env.check()


def test_silence_ends_with_a_heartbeat() -> None:
    env = Env()
    worker = env.worker(slots=2)
    granted(env, worker)
    for _ in range(10):
        env.wait(14)
        worker.beat()
    env.wait(16)
    assert env.core.state.workers[worker.uid].suspect
    env.graph = Graph({"b": []})
    worker.beat()
    env.submit("b")
    assert [g.task_id for g in worker.take()][-1] == "T_b"


@pytest.mark.unread("Dispatch")
def test_silence_is_not_judged_before_queued_messages_are_read() -> None:
    env = Env()
    worker = env.worker()
    granted(env, worker)
    env.now += TIMING.term_s + 100
    env._collect(env.core.handle(TurnEnded(drained=False), env.now))
    assert env.state("a") == S.LEASED
    worker.beat()
    assert env.state("a") == S.LEASED
    assert not env.core.state.workers[worker.uid].suspect


def test_joining_often_leaves_one_timer() -> None:
    env = Env()
    worker = env.worker()
    for _ in range(20):
        worker.join()
    env.wait(TIMING.suspect_s - 1)
    worker.beat()
    env.wait(TIMING.suspect_s - 1)
    assert sum(1 for timer in env.core.state.timers if timer[2] is Timer.SILENCE) == 1


# ---------------------------------------------------------------- fast release


def test_successor_certifies_its_predecessor_dead() -> None:
    env = Env()
    worker = env.worker()
    granted(env, worker)
    after = FakeWorker(env, "b", 1)
    after.join(dead=[worker.uid])
    (again,) = after.take()
    assert again.attempt == 2 and env.task("a").failures == 0
    worker.beat()
    assert env.heard(worker.peer, wire.Rejoin)
    env.check()


def test_reboot_of_a_host_releases_its_earlier_leases() -> None:
    env = Env()
    worker = env.worker()
    granted(env, worker)
    elsewhere = env.worker("else", slots=0)
    after = FakeWorker(env, "b", 1)
    after.host_key, after.boot_id = worker.host_key, "boot-2"
    after.join()
    assert len(after.take()) == 1
    assert list(env.core.state.workers) == [elsewhere.uid, after.uid]


def test_second_worker_of_a_host_releases_nothing() -> None:
    env = Env()
    worker = env.worker()
    granted(env, worker)
    after = FakeWorker(env, "b", 1)
    after.host_key = worker.host_key
    after.join()
    assert not after.take()


def test_reboot_releases_leases_stored_before_a_restart() -> None:
    env = Env()
    worker = env.worker()
    granted(env, worker)
    env.restart()
    after = FakeWorker(env, "b", 1)
    after.host_key, after.boot_id = worker.host_key, "boot-2"
    after.join()
    assert len(after.take()) == 1


def test_drained_worker_gives_its_leases_back() -> None:
    env = Env()
    worker = env.worker()
    granted(env, worker)
    worker.say(wire.Drained(worker.session))
    assert env.state("a") == S.READY
    assert worker.uid not in env.store.disk.workers


def test_declare_dead_by_an_operator_releases_and_is_logged() -> None:
    env = Env()
    worker = env.worker()
    granted(env, worker)
    changed = env.ask(lambda n: client.WorkerCommand(n, "a", "declare-dead"), client.Changed)
    assert changed.count == 1
    assert env.state("a") == S.READY
    assert any(note.phrase == "worker declared dead" for note in env.notes)
    worker.beat()
    assert env.heard(worker.peer, wire.Rejoin)


def test_drain_is_said_again_until_the_worker_drains() -> None:
    env = Env()
    worker = env.worker(slots=2)
    env.ask(lambda n: client.WorkerCommand(n, "a", "drain"), client.Changed)
    assert env.heard(worker.peer, wire.Drain)
    worker.beat()
    assert env.heard(worker.peer, wire.Drain), "it was lost"
    env.graph = Graph({"a": []})
    env.submit("a")
    assert not worker.take(), "a heartbeat from before does not undo it"
    worker.say(wire.Heartbeat(worker.session, 9, True))
    assert not env.heard(worker.peer, wire.Drain)


def test_unfit_worker_gets_no_new_work() -> None:
    env = Env()
    worker = env.worker()
    worker.say(wire.Heartbeat(worker.session, 1, False, 0.0, 0, False))
    env.worker("p", slots=0)
    env.graph = Graph({"a": []})
    env.submit("a")
    assert not worker.take()
    worker.say(wire.Heartbeat(worker.session, 2))
    assert len(worker.take()) == 1


def test_lost_attempt_is_held_where_its_class_says_so() -> None:
    env = Env()
    env.graph = Graph({"a": [], "b": ["a"]}, {"a": Policy(on_lost="hold")})
    worker = env.worker()
    env.submit("b")
    (grant,) = worker.take()
    worker.start(grant)
    env.wait(TIMING.term_s + 1)
    assert env.ended() == 30
    (failure,) = env.run().failures
    assert failure.kind == "lost"


def test_unstarted_attempt_given_back_is_not_held() -> None:
    env = Env()
    env.graph = Graph({"a": []}, {"a": Policy(on_lost="hold")})
    worker = env.worker()
    env.submit("a")
    worker.take()
    worker.join()
    assert len(worker.take()) == 1
