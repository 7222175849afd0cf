"""Grants, results, crashes, kills, timeouts, recalls: rules W1, W6, W7."""

from __future__ import annotations

import pytest

from flow.wire.messages.shared import Outcome, Report, Verdict
from flow.wire.messages.worker import Kill, Rack, Recall, Rejoin, Results, Started
from flow_worker.channel import Chunk, Execute, Finished, Leave, Load, Parked, Up
from flow_worker.core import tokens as tokens_module
from flow_worker.core.config import BATCH_TASKS_MAX
from tests.support.worker_env import PROGRAM, WorkerEnv, done, grant, tok


def flat(handed: dict[int, list[str]]) -> list[str]:
    """All tokens handed to any runner."""
    return [token for tokens in handed.values() for token in tokens]


def learn(env: WorkerEnv, run_s: float = 0.0001) -> int:
    """Let the core see that family Task is quick; returns the runner (one slot)."""
    runner = env.run(grant(1))
    env.say(runner, Finished([done(1, run_s)]))
    env.rack(tok(1))
    env.clear()
    return runner


@pytest.mark.unread("Execute")
def test_grant_runs_and_its_report_is_said() -> None:
    env = WorkerEnv()
    env.dispatch(grant(1))
    assert env.of(Started)[0].tokens == [tok(1)]
    [(runner, frame)] = env.told
    assert frame == Execute([grant(1)])
    env.say(runner, Finished([done(1)]))
    assert env.of(Results) == [Results("1.1", [done(1)])]


@pytest.mark.unread("Hello")
def test_first_program_finds_a_template_ready_and_leaves_a_spare_one() -> None:
    env = WorkerEnv(joined=False)
    env.advance(0)
    assert [role for _, role in env.started] == ["template"]
    env.join()
    env.up_all()
    env.define(PROGRAM)
    env.dispatch(grant(1))
    [(_, frame)] = env.told
    assert frame == Load(PROGRAM) and not env.started
    env.up_all()
    assert flat(env.executed()) == [tok(1)]
    roles = [process.role for process in env.worker.processes.all.values()]
    assert sorted(roles) == ["runner", "template", "template"]


def test_runners_are_started_as_work_comes_up_to_the_slots() -> None:
    env = WorkerEnv(slots=3)
    env.dispatch(*(grant(n) for n in range(5)))
    assert [role for _, role in env.started] == ["runner", "runner"]
    env.up_all()
    handed = env.executed()
    assert sorted(map(len, handed.values())) == [1, 1, 1]


# ---------------------------------------------------------------- W1


def test_copy_of_a_dispatch_says_started_again_and_runs_nothing() -> None:
    env = WorkerEnv()
    env.run(grant(1))
    env.clear()
    env.dispatch(grant(1))
    assert env.of(Started)[0].tokens == [tok(1)]
    assert not env.told


def test_copy_of_a_dispatch_after_the_end_says_the_report_again() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.say(runner, Finished([done(1)]))
    env.clear()
    env.dispatch(grant(1))
    assert env.reports() == [(tok(1), Outcome.DONE)]
    assert not env.told


def test_copy_of_a_dispatch_after_the_ack_runs_nothing() -> None:
    env = WorkerEnv()
    learn(env)
    env.dispatch(grant(1))
    env.run_for(1.0)
    assert not env.told and not env.worker.tokens.holdings


def test_memory_of_acked_tokens_is_bounded_and_very_late_copies_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tokens_module, "SEEN_TOKENS_MAX", 10)
    env = WorkerEnv()
    runner = learn(env)
    for number in range(2, 40):
        env.dispatch(grant(number))
        env.say(runner, Finished([done(number)]))
        env.rack(tok(number))
    assert len(env.worker.tokens._seen) == 10
    env.clear()
    env.dispatch(grant(3))
    assert not env.told
    assert env.reports() == [(tok(3), Outcome.REFUSED)]
    env.dispatch(grant(40))
    assert [tok(40)] in env.executed().values()


# ---------------------------------------------------------------- W6


def test_report_is_repeated_until_acked_then_never() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.say(runner, Finished([done(1)]))
    assert env.reports() == [(tok(1), Outcome.DONE)]
    env.run_for(1.5)
    assert env.reports() == [(tok(1), Outcome.DONE)]
    env.run_for(10.0)
    assert 1 <= len(env.reports()) <= 4
    env.rack(tok(1))
    env.run_for(100.0)
    assert env.reports() == []


def test_reports_of_one_turn_travel_together() -> None:
    env = WorkerEnv()
    runner = learn(env)
    env.dispatch(*(grant(n) for n in range(2, 12)))
    env.clear()
    env.say(runner, Finished([done(2), done(3)]), Finished([done(4)]))
    [results] = env.of(Results)
    assert [r.token for r in results.reports] == [tok(2), tok(3), tok(4)]


@pytest.mark.unread("Execute")
def test_large_reports_are_cut_and_spread_over_messages() -> None:
    env = WorkerEnv()
    runner = learn(env)
    env.dispatch(*(grant(n) for n in range(2, 22)))
    big = [
        Report(tok(n), Outcome.FAILED, 0.0001, "e", "w", "t" * 500_000 + "end")
        for n in range(2, 22)
    ]
    env.say(runner, Finished(big))
    messages = env.of(Results)
    assert len(messages) > 1
    traces = [r.trace for m in messages for r in m.reports]
    assert len(traces) == 20
    assert all(trace.endswith("end") and len(trace) <= 65536 for trace in traces)


def test_stale_verdict_of_a_report_drops_it() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.say(runner, Finished([done(1)]))
    env.turn(Rack("1.1", [(tok(1), Verdict.STALE)]))
    env.clear()
    env.run_for(100.0)
    assert env.reports() == []


@pytest.mark.unread("KillProcess")
def test_stale_verdict_of_a_living_token_kills_it() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.turn(Rack("1.1", [(tok(1), Verdict.STALE)]))
    assert env.killed == [(runner, 0.0)]


# ---------------------------------------------------------------- crashes


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"signal": 11}, "killed by SIGSEGV"),
        ({"code": 0}, "exited with code 0 without a result"),
        ({"code": 3}, "exited with code 3"),
        ({"signal": 9, "oom": True}, "out of memory: killed by the kernel"),
        ({"signal": 40}, "killed by signal 40"),
    ],
)
def test_runner_that_dies_is_one_crashed_attempt_with_a_reason(how: dict, reason: str) -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.die(runner, tail="last words", **how)
    [results] = env.of(Results)
    [report] = results.reports
    assert (report.outcome, report.error, report.tail) == (Outcome.CRASHED, reason, "last words")
    env.dispatch(grant(2))
    env.up_all()
    assert [tok(2)] in env.executed().values()


def test_crash_in_a_batch_blames_the_first_unfinished_and_the_rest_runs_elsewhere() -> None:
    env = WorkerEnv()
    runner = learn(env)
    env.dispatch(*(grant(n) for n in range(2, 8)))
    assert env.executed() == {runner: [tok(n) for n in range(2, 8)]}
    env.say(runner, Finished([done(2, 0.0001)]))
    env.clear()
    env.die(runner, signal=11)
    assert env.reports() == [(tok(3), Outcome.CRASHED)]
    env.up_all()
    assert flat(env.executed()) == [tok(n) for n in range(4, 8)]


def test_crash_with_unsaid_results_starts_none_of_them_again() -> None:
    """The process says which task it began last: those before it ran, though nobody heard."""
    env = WorkerEnv()
    runner = learn(env)
    env.dispatch(*(grant(n) for n in range(2, 8)))
    env.clear()
    env.die(runner, signal=11, began=5)
    assert sorted(env.reports()) == [
        (tok(2), Outcome.KILLED),
        (tok(3), Outcome.KILLED),
        (tok(4), Outcome.KILLED),
        (tok(5), Outcome.CRASHED),
    ]
    env.up_all()
    assert flat(env.executed()) == [tok(6), tok(7)]


def test_runner_that_never_comes_up_is_started_again_later_and_later() -> None:
    env = WorkerEnv()
    env.die(env.runners()[0], code=1)
    env.dispatch(grant(1))
    [(first, _)] = env.take_started()
    env.die(first, code=1)
    assert env.started == []
    env.dispatch(grant(2))
    assert env.started == []
    env.run_for(0.5)
    assert len(env.started) == 1
    assert "process did not start" in env.notes
    env.up_all()
    assert list(env.executed().values()) == [[tok(1)]]


@pytest.mark.unread("KillProcess")
def test_process_that_reports_a_foreign_token_is_killed_as_crashed() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.say(runner, Finished([done(99)]))
    assert env.killed == [(runner, 0.0)]
    env.die(runner, signal=9)
    assert env.reports() == [(tok(1), Outcome.CRASHED)]


@pytest.mark.unread("KillProcess")
@pytest.mark.parametrize("frame", [Parked(tok(9), 1, []), Chunk(7, 0, True, b""), Up(1)])
def test_frames_out_of_place_start_and_end_nothing(frame: object) -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.say(runner, frame)  # type: ignore[arg-type]
    assert env.reports() == [] and not env.executed()


# ---------------------------------------------------------------- batches


def test_unknown_family_goes_one_at_a_time() -> None:
    env = WorkerEnv()
    env.dispatch(*(grant(n) for n in range(1, 10)))
    assert list(env.executed().values()) == [[tok(1)]]


def test_slow_family_goes_one_at_a_time() -> None:
    env = WorkerEnv()
    runner = learn(env, run_s=0.05)
    env.dispatch(*(grant(n) for n in range(2, 10)))
    assert env.executed() == {runner: [tok(2)]}


@pytest.mark.unread("Results")
def test_quick_family_travels_in_bounded_batches_and_is_topped_up() -> None:
    env = WorkerEnv()
    runner = learn(env)
    env.dispatch(*(grant(n) for n in range(2, 102)))
    assert [len(t) for t in env.executed().values()] == [BATCH_TASKS_MAX]
    env.say(runner, Finished([done(n, 0.0001) for n in range(2, 22)]))
    assert [len(t) for t in env.executed().values()] == [20]


def test_batch_holds_at_most_four_milliseconds() -> None:
    env = WorkerEnv()
    runner = learn(env, run_s=0.001)
    env.dispatch(*(grant(n) for n in range(2, 102)))
    assert env.executed() == {runner: [tok(n) for n in range(2, 6)]}


@pytest.mark.unread("Results")
def test_queue_is_split_evenly_over_idle_runners() -> None:
    env = WorkerEnv(slots=2)
    env.dispatch(grant(1), grant(2))
    env.up_all()
    for runner, [token] in env.executed().items():
        env.say(runner, Finished([done(int(token[-1]), 0.0001)]))
    env.dispatch(*(grant(n) for n in range(3, 13)))
    assert [len(tokens) for tokens in env.executed().values()] == [5, 5]


@pytest.mark.unread("Results")
def test_lone_task_waits_for_an_empty_worker_and_lets_nothing_beside_it() -> None:
    env = WorkerEnv(slots=2)
    env.dispatch(grant(1), grant(2, alone=True), grant(3))
    env.up_all()
    [(first, tokens)] = env.executed().items()
    assert tokens == [tok(1)]
    env.say(first, Finished([done(1, 0.0001)]))
    [(second, tokens)] = env.executed().items()
    assert tokens == [tok(2)]
    env.dispatch(grant(4))
    assert env.executed() == {}
    env.die(second, signal=11)
    env.up_all()
    assert sorted(flat(env.executed())) == [tok(3), tok(4)]


# ---------------------------------------------------------------- recall, kill, timeout


@pytest.mark.unread("Results")
def test_recall_gives_back_only_what_is_in_no_process() -> None:
    env = WorkerEnv()
    env.run(grant(1), grant(2), grant(3))
    env.turn(Recall("1.1", [tok(1), tok(3), tok(77)]))
    assert env.reports() == [(tok(3), Outcome.RELEASED)]
    runner = env.runners()[0]
    env.say(runner, Finished([done(1)]))
    assert env.executed() == {runner: [tok(2)]}


@pytest.mark.unread("KillProcess")
@pytest.mark.parametrize("grace_s", [0.0, 3.0])
def test_kill_kills_the_tree_and_reports_when_it_is_gone(grace_s: float) -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.turn(Kill("1.1", [tok(1)], grace_s))
    assert env.killed == [(runner, grace_s)]
    assert env.reports() == []
    env.die(runner, signal=9)
    assert env.reports() == [(tok(1), Outcome.KILLED)]


@pytest.mark.unread("KillProcess")
def test_second_kill_can_only_make_it_sooner() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.turn(Kill("1.1", [tok(1)], 3.0))
    env.turn(Kill("1.1", [tok(1)], 10.0))
    env.turn(Kill("1.1", [tok(1)], 0.0))
    assert env.killed == [(runner, 3.0), (runner, 0.0)]


def test_kill_of_a_queued_token_ends_it_at_once() -> None:
    env = WorkerEnv()
    env.run(grant(1), grant(2))
    env.turn(Kill("1.1", [tok(2)]))
    assert env.reports() == [(tok(2), Outcome.KILLED)]
    assert not env.killed


def test_kill_of_a_token_that_never_arrived_is_answered_and_keeps_it_from_starting() -> None:
    """Its grant was lost: without an answer its lease, and the kill, would go on for ever."""
    env = WorkerEnv()
    env.turn(Kill("1.1", [tok(1)]))
    assert env.reports() == [(tok(1), Outcome.KILLED)]
    env.dispatch(grant(1))
    assert not env.executed()
    env.rack(tok(1))
    env.clear()
    env.turn(Kill("1.1", [tok(1)]))
    env.dispatch(grant(1))
    assert not env.reports()
    assert not env.executed()


def test_kill_of_a_token_behind_another_waits_for_the_innocent_one() -> None:
    env = WorkerEnv()
    runner = learn(env)
    env.dispatch(grant(2), grant(3), grant(4))
    env.turn(Kill("1.1", [tok(3)]))
    assert not env.killed
    env.say(runner, Finished([done(2)]))
    assert env.killed == [(runner, 0.0)]
    env.clear()
    env.die(runner, signal=9)
    assert env.reports() == [(tok(3), Outcome.KILLED)]
    env.up_all()
    assert flat(env.executed()) == [tok(4)]


@pytest.mark.unread("KillProcess")
def test_result_that_was_on_its_way_when_the_kill_came_counts() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.turn(Kill("1.1", [tok(1)], 3.0))
    env.say(runner, Finished([done(1)]))
    env.die(runner, signal=15)
    assert env.reports() == [(tok(1), Outcome.DONE)]


@pytest.mark.unread("KillProcess")
def test_failure_said_while_being_killed_is_reported_as_killed() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1))
    env.turn(Kill("1.1", [tok(1)], 3.0))
    env.say(runner, Finished([Report(tok(1), Outcome.FAILED, 0.1, "Terminated")]))
    env.die(runner, signal=15)
    assert env.reports() == [(tok(1), Outcome.KILLED)]


@pytest.mark.unread("KillProcess")
def test_task_over_its_timeout_is_killed_with_grace_and_reported() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1, timeout_s=30.0))
    env.run_for(29.9)
    assert not env.killed
    env.run_for(0.2)
    assert env.killed == [(runner, 5.0)]
    env.die(runner, signal=15)
    [report] = [r for m in env.of(Results) for r in m.reports]
    assert report.outcome is Outcome.TIMEOUT
    assert report.error == "ran longer than its timeout of 30 s"


@pytest.mark.unread("Execute", "Results")
def test_timeout_counts_from_the_start_not_from_the_queue() -> None:
    env = WorkerEnv()
    runner = env.run(grant(1), grant(2, timeout_s=30.0))
    env.run_for(50.0)
    env.say(runner, Finished([done(1)]))
    env.run_for(20.0)
    assert not env.killed
    env.say(runner, Finished([done(2)]))
    env.run_for(100.0)
    assert not env.killed


# ---------------------------------------------------------------- recycling


@pytest.mark.unread("Leave")
def test_runner_is_replaced_after_its_number_of_tasks() -> None:
    env = WorkerEnv(runner_tasks_max=2)
    runner = learn(env)
    env.dispatch(grant(2))
    env.say(runner, Finished([done(2)]))
    env.clear()
    env.dispatch(grant(3))
    assert (runner, Leave()) in env.told
    assert not env.executed()
    env.up_all()
    [(other, tokens)] = env.executed().items()
    assert other != runner and tokens == [tok(3)]
    env.die(runner, code=0)
    assert "runner ended" not in env.notes


@pytest.mark.unread("Leave", "Results")
def test_runner_is_replaced_above_its_memory_bound() -> None:
    env = WorkerEnv(runner_bytes_max=1000)
    runner = env.run(grant(1))
    env.say(runner, Finished([Report(tok(1), Outcome.DONE, 0.1, peak_bytes=2000)]))
    env.dispatch(grant(2))
    assert (runner, Leave()) in env.told


def test_copy_of_an_acked_dispatch_runs_nothing_in_a_later_session_either() -> None:
    env = WorkerEnv()
    learn(env)
    env.turn(Rejoin("1.1"))
    env.join("1.2")
    env.clear()
    env.dispatch(grant(1))
    assert not env.told and not env.worker.tokens.holdings


def test_another_lineage_counts_its_tokens_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "SEEN_TOKENS_MAX", 1)
    env = WorkerEnv()
    runner = env.run(grant(8), grant(9))
    env.say(runner, Finished([done(8)]))
    env.say(runner, Finished([done(9)]))
    env.rack(tok(8), tok(9))
    env.turn(Rejoin("1.1"))
    env.challenge("n2", lineage="cd" * 8)
    env.welcome("1.1")
    env.clear()
    env.warm_up()
    env.dispatch(grant(1))
    handed = env.executed()
    assert flat(handed) == [tok(1)] and runner not in handed  # its program is of the lost history
