"""What running tasks say and hear, with real processes and a coordinator that dies in between."""

from __future__ import annotations

import itertools
import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flow.errors import ExitCode, FlowError
from tests.support.cluster import Cluster, wait_until


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    root = tmp_path_factory.mktemp("talking") / "c"
    settings = {
        "FLOW_RESOURCES__pool": "3",
        "FLOW_WORKER__TASK_PROCESS_CONTEXT": "flowtasks.Context",
    }
    with Cluster(root, "talking_tasks", settings=settings) as cluster:
        cluster.start("w1", "w2", slots=3)
        yield cluster


def status(cluster: Cluster, task: str) -> dict[str, Any]:
    """Ask for one task; empty while nobody knows it."""
    done = cluster.flow("status", task, "--json")
    found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found


def until_said(cluster: Cluster, task: str, **wanted: object) -> dict[str, Any]:
    last: dict[str, Any] = {}

    def said() -> bool:
        last.clear()
        last.update(status(cluster, task))
        return all(last.get(name) == value for name, value in wanted.items())

    try:
        wait_until(said, f"{task} to say {wanted}", pause_s=0.1)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{last}\n{cluster.logs()}") from None
    return last


def running(cluster: Cluster, name: str) -> None:
    wait_until(lambda: cluster.ledger.lines("start", name), f"{name} to run")


def test_status_is_shown_while_the_coordinator_comes_and_goes_and_after_the_end(
    cluster: Cluster,
) -> None:
    run = cluster.detach("Says", "--key", "s")
    running(cluster, "Says-s")
    url = "http://tracker/7"
    first = until_said(cluster, "Says(key=s)", status="copying", progress=12.0, tracking_url=url)
    assert first["state"] == "running"
    assert cluster.coordinator is not None
    cluster.coordinator.stop(signal.SIGKILL)
    cluster.ledger.open_gate("half-s")
    cluster.start_coordinator()
    until_said(cluster, "Says(key=s)", status="nearly there", progress=99.5)
    shown = cluster.flow("status", "Says(key=s)").stdout
    assert "RUNNING" in shown and "99.5 %" in shown and "nearly there" in shown
    assert "http://tracker/7" in shown
    why = cluster.flow("why", "Says(key=s)").stdout
    assert "nearly there" in why and "http://tracker/7" in why
    (row,) = cluster.json("tasks", "Says(key=s)")["tasks"]
    assert (row["status"], row["progress"]) == ("nearly there", 99.5)
    assert row["reason"] == "99.5 % nearly there"
    cluster.ledger.open_gate("end-s")
    cluster.wait_ended(run)
    last = until_said(cluster, "Says(key=s)", status="all copied", progress=100.0)
    assert last["state"] == "done"
    assert last["statistics"] == {"rows": "42", "took": "1.5"}
    assert len(cluster.ledger.executions("Says-s")) == 1
    assert cluster.coordinator is not None
    cluster.coordinator.stop(signal.SIGKILL)
    cluster.start_coordinator()
    assert status(cluster, "Says(key=s)")["status"] == "all copied"
    assert [line.detail for line in cluster.ledger.lines("exit", "Says")] == ["None"]


def test_given_back_resource_is_free_at_once_and_after_a_restart(cluster: Cluster) -> None:
    run = cluster.detach("Pair", "--key", "p")
    running(cluster, "Holder-p")
    assert not cluster.ledger.lines("start", "Wants-p")
    cluster.ledger.open_gate("give-p")
    running(cluster, "Wants-p")
    assert "Holder-p" not in cluster.ledger.ended()

    def used() -> float:
        rows = cluster.json("resources")
        return next((float(row["used"]) for row in rows if row["name"] == "pool"), 0.0)

    assert used() == 3.0
    assert cluster.coordinator is not None
    cluster.coordinator.stop(signal.SIGKILL)
    cluster.start_coordinator()
    cluster.wait_joined("w1", "w2")
    assert used() == 3.0
    assert "given back" in cluster.flow("why", "Holder(key=p)").stdout
    cluster.ledger.open_gate("wants-p")
    wait_until(lambda: used() == 1.0, "the wanting task to give back what it holds")
    cluster.ledger.open_gate("end-p")
    cluster.wait_ended(run)
    assert used() == 0.0
    cluster.ledger.check(["Holder-p", "Wants-p"], once=False)


def test_message_is_answered_and_each_is_heard_once(cluster: Cluster) -> None:
    run = cluster.detach("Listener", "--key", "l")
    running(cluster, "Listener-l")
    sent = cluster.flow("message", "Listener(key=l)", "hello there", "--wait", "30s")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert sent.stdout == "got hello there\n"
    assert "attempt 1 on w" in sent.stderr
    assert cluster.coordinator is not None
    cluster.coordinator.stop(signal.SIGKILL)
    late: list[Any] = []
    thread = threading.Thread(
        target=lambda: late.append(
            cluster.flow("message", "Listener(key=l)", "while it was away", "--wait", "30s")
        )
    )
    cluster.start_coordinator()
    thread.start()
    cluster.wait_joined("w1", "w2")
    thread.join()
    assert (late[0].returncode, late[0].stdout) == (0, "got while it was away\n"), late[0].stderr
    silent = cluster.flow("message", "Listener(key=l)", "silent", "--wait", "0.5")
    assert silent.returncode == ExitCode.TIMEOUT, silent.stderr
    assert "no reply" in silent.stderr
    told = cluster.json("message", "Listener(key=l)", "end", "--wait", "30s")
    assert told["delivered"] and told["reply"] == '{"said": "bye"}'
    cluster.wait_ended(run)
    heard = [line.detail for line in cluster.ledger.lines("heard", "Listener-l")]
    assert heard == ["hello there", "while it was away", "silent", "end"]
    ended = cluster.flow("message", "Listener(key=l)", "too late")
    assert ended.returncode in (ExitCode.NOT_RUN, ExitCode.USAGE), ended.stderr


def test_nobody_hears_what_is_sent_to_a_deaf_waiting_or_unknown_task(cluster: Cluster) -> None:
    run = cluster.detach("Says", "--key", "deaf")
    running(cluster, "Says-deaf")
    deaf = cluster.flow("message", "Says(key=deaf)", "hello")
    assert deaf.returncode == ExitCode.USAGE
    assert "does not accept messages" in deaf.stderr
    unknown = cluster.flow("message", "Nobody(key=x)", "hello")
    assert unknown.returncode == ExitCode.USAGE
    for gate in ("half-deaf", "end-deaf"):
        cluster.ledger.open_gate(gate)
    cluster.wait_ended(run)


def test_task_that_never_reads_refuses_what_its_queue_cannot_hold(cluster: Cluster) -> None:
    from flow_worker.process.mailbox import UNREAD_MAX

    run = cluster.detach("NeverReads", "--key", "n")
    running(cluster, "NeverReads-n")
    codes: dict[int, int] = {}
    with cluster.client() as client:
        for n in range(UNREAD_MAX + 20):
            try:
                client.send_message("NeverReads(key=n)", f"{n}")
                code = 0
            except FlowError as error:
                assert "does not read" in str(error), error
                code = int(error.exit_code)
            codes[code] = codes.get(code, 0) + 1
    assert codes == {0: UNREAD_MAX, int(ExitCode.REFUSED): 20}
    cluster.ledger.open_gate("end-n")
    cluster.wait_ended(run)
    assert [line.detail for line in cluster.ledger.lines("unread")] == [str(UNREAD_MAX)]


def test_parked_generator_finds_its_messages_when_it_goes_on(cluster: Cluster) -> None:
    run = cluster.detach("Yielding", "--key", "y")
    running(cluster, "Says-y")
    until_said(cluster, "Yielding(key=y)", state="suspended", status="before the yield")
    sent = cluster.flow("message", "Yielding(key=y)", "for later")
    assert sent.returncode == 0, sent.stderr
    for gate in ("half-y", "end-y"):
        cluster.ledger.open_gate(gate)
    cluster.wait_ended(run)
    assert [line.detail for line in cluster.ledger.lines("heard", "Yielding-y")] == ["for later"]


def test_hundred_thousand_messages_are_all_answered_and_bounded(cluster: Cluster) -> None:
    from flow.wire.messages.client import AttemptFound, FindAttempt, LetterSent, SendLetter
    from flow.wire.messages.codec import decode_at_client, encode
    from flow.wire.transport import Dealer, Poller
    from flow_worker.process.mailbox import UNREAD_MAX

    run = cluster.detach("NeverReads", "--key", "flood")
    running(cluster, "NeverReads-flood")
    with cluster.client() as client:
        token = client.ask(FindAttempt(0, "NeverReads(key=flood)"), AttemptFound).token
    dealer, poller = Dealer(cluster.address), Poller()
    poller.register(dealer, "coordinator")
    count, answers = 100_000, {"taken": 0, "refused": 0}
    waiting: dict[int, None] = {}
    numbers = iter(range(1, count + 1))
    quiet = 0

    def write(number: int) -> None:
        dealer.send(encode(SendLetter(number, token, f"m{number}", "hello")), wait_s=1.0)

    def turn() -> str:
        nonlocal quiet
        for number in itertools.islice(numbers, 500 - len(waiting)):
            waiting[number] = None
            write(number)
        quiet += 1
        if poller.poll(0.1):
            for data in dealer.recv_batch(1_000):
                reply = decode_at_client(data)
                if reply.request in waiting:
                    quiet = 0
                    del waiting[reply.request]
                    answers["taken" if isinstance(reply, LetterSent) else "refused"] += 1
        if quiet > 20:  # something was lost: ask again, as every sender does
            quiet = 0
            for number in waiting:
                write(number)
        return "" if waiting or sum(answers.values()) < count else "all"

    try:
        wait_until(turn, "all answers", timeout_s=100.0, pause_s=0.0)
    finally:
        dealer.close()
    assert answers["taken"] == UNREAD_MAX
    assert status(cluster, "NeverReads(key=flood)")["state"] == "running"
    cluster.ledger.open_gate("end-flood")
    cluster.wait_ended(run)
    assert cluster.ledger.lines("unread", "NeverReads-flood")[0].detail == str(UNREAD_MAX)


def test_program_gets_a_reply_through_the_client(cluster: Cluster) -> None:
    run = cluster.detach("Listener", "--key", "program")
    running(cluster, "Listener-program")
    with cluster.client() as client:
        found, nothing = client.send_message("Listener(key=program)", "hi", run=run)
        assert (found.attempt, nothing) == (1, None)
        _, reply = client.send_message(found.task_id, "end", payload={"n": "1"}, wait_s=30.0)
    assert reply == '{"said": "bye"}'
    cluster.wait_ended(run)


def test_embedded_run_lets_its_tasks_talk(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cluster.env, "TMPDIR", str(tmp_path))
    for gate in ("half-e", "end-e"):
        cluster.ledger.open_gate(gate)
    path = str(cluster.modules / "flowtasks.py")
    done = cluster.flow("run", path, "Says", "--key", "e")
    assert done.returncode == 0, done.stdout + done.stderr
