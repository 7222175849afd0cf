"""A real task process whose tasks talk: coalesced, never in the way, nothing after the end."""

from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from flow.wire.messages.shared import Grant, Outcome, Report
from flow.wire.messages.speech import Fate, Letter
from flow_worker import channel
from flow_worker.process.mailbox import UNREAD_MAX
from flow_worker.process.serve import serve_in_process
from tests.support.task_process import TaskProcess, pack, start, wait_until

MODULE = """
import copy, multiprocessing, os, pickle, threading, time
from pathlib import Path
import flow

HERE = Path(__file__).parent

def note(text):
    with open(HERE / "story", "a") as file:
        file.write(text + "\\n")

def said(task):
    return [getattr(task, name) is None for name in (
        "set_status_message", "set_progress_percentage", "set_tracking_url",
        "decrease_running_resources")]

class Bare(flow.Task):
    def complete(self):
        return False

class During(Bare):
    def complete(self):
        note(f"complete {all(said(self))}")
        return False
    def run(self):
        note(f"run {not any(said(self))} {self.scheduler_messages}")
        assert During.set_status_message is None
        assert copy.copy(self).set_status_message is None
        pickle.loads(pickle.dumps(self))
        with self.no_unpicklable_properties():
            pass
        self.keep = self.set_status_message
        HERE.joinpath("kept").touch()
    def on_success(self):
        note(f"after {all(said(self))}")
        self.keep("too late")

class Flood(Bare):
    def run(self):
        for n in range(100_000):
            self.set_progress_percentage(n / 1000)
            self.set_status_message("x" * 10_000)

class Threads(Bare):
    def run(self):
        def give():
            for _ in range(100):
                self.decrease_running_resources({"db": 0.01})
        threads = [threading.Thread(target=give) for _ in range(8)]
        [one.start() for one in threads]
        [one.join() for one in threads]

class Forks(Bare):
    def run(self):
        self.set_status_message("parent")
        time.sleep(0.05)
        def child():
            for _ in range(1000):
                self.set_status_message("child")
                self.set_progress_percentage(1)
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=child) for _ in range(3)]
        [one.start() for one in children]
        for _ in range(100):
            self.set_status_message("parent")
            time.sleep(0.001)
        [one.join() for one in children]

class Wrong(Bare):
    what = flow.StrParameter()
    def run(self):
        if self.what == "nan":
            self.set_progress_percentage(float("nan"))
        else:
            self.decrease_running_resources({"db": -1})

class Fails(Bare):
    def run(self):
        self.set_status_message("just before")
        raise ValueError("no")

class Hears(Bare):
    accepts_messages = True
    count = flow.IntParameter()
    def run(self):
        for _ in range(self.count):
            message = self.scheduler_messages.get(timeout=20)
            note(f"{message} {message == 'a'} {message.payload} {message.content}")
            message.respond(f"re {message}")
            message.respond("twice")

class Waits(Bare):
    accepts_messages = True
    def run(self):
        HERE.joinpath("waiting").touch()
        self.scheduler_messages.get()

class Sleeps(Bare):
    accepts_messages = True
    gate = flow.StrParameter()
    def run(self):
        while not HERE.joinpath(self.gate).exists():
            time.sleep(0.005)
        note(f"unread {self.scheduler_messages.qsize()}")

class Parks(Bare):
    accepts_messages = True
    def run(self):
        self.set_status_message("parking")
        yield Bare()
        note(f"heard {self.scheduler_messages.get_nowait()}")
"""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[TaskProcess]:
    (tmp_path / "talkers.py").write_text(MODULE)
    yield from start(tmp_path)


def grant(process: TaskProcess, family: str, **params: str) -> Grant:
    made = process.grant("talkers", family, **params)
    return msgspec.structs.replace(made, accepts_messages=True)


def story(process: TaskProcess) -> list[str]:
    path = process.log_dir.parent / "story"
    return path.read_text().splitlines() if path.exists() else []


def until_finished(process: TaskProcess) -> tuple[list[channel.FromProcess], Report]:
    frames: list[channel.FromProcess] = []
    while True:
        frame = process.get()
        if isinstance(frame, channel.Finished):
            return frames, frame.reports[0]
        frames.append(frame)


def run(process: TaskProcess, family: str, **params: str) -> tuple[list[channel.Says], Report]:
    process.send(channel.Execute([process.grant("talkers", family, **params)]))
    frames, report = until_finished(process)
    return [frame for frame in frames if isinstance(frame, channel.Says)], report


def deliver(token: str, name: str) -> channel.Deliver:
    return channel.Deliver(Letter(token, name, name, {"n": "1"}))


def test_functions_exist_during_run_only_and_say_nothing_after_it(process: TaskProcess) -> None:
    says, report = run(process, "During")
    assert report.outcome is Outcome.DONE, report.trace
    assert says == []
    assert story(process) == ["complete True", "run True None", "after True"]


def test_flood_of_words_is_carried_as_few_and_bounded_ones_with_the_last(
    process: TaskProcess,
) -> None:
    began = time.monotonic()
    says, report = run(process, "Flood")
    spent_s = time.monotonic() - began
    assert report.outcome is Outcome.DONE
    assert len(says) <= spent_s / 0.09 + 3
    assert says[-1].words.progress == 99.999
    assert says[-1].words.number == 200_000
    assert all(len(one.words.status) <= 2_000 for one in says)


def test_threads_of_a_task_give_back_what_they_say_together(process: TaskProcess) -> None:
    says, _ = run(process, "Threads")
    assert says[-1].words.decreased == {"db": pytest.approx(8.0)}


def test_processes_that_a_task_forks_are_not_heard_and_break_nothing(process: TaskProcess) -> None:
    says, report = run(process, "Forks")
    assert report.outcome is Outcome.DONE, report.trace
    assert {one.words.status for one in says} == {"parent"}
    assert run(process, "During")[1].outcome is Outcome.DONE


@pytest.mark.parametrize(("what", "text"), [("nan", "0 to 100"), ("less", "give back -1")])
def test_nonsense_is_refused_where_it_is_said(process: TaskProcess, what: str, text: str) -> None:
    _, report = run(process, "Wrong", what=what)
    assert report.outcome is Outcome.FAILED
    assert "ValueError" in report.error and text in report.error


def test_words_just_before_a_failure_come_before_its_report(process: TaskProcess) -> None:
    says, report = run(process, "Fails")
    assert report.outcome is Outcome.FAILED
    assert [one.words.status for one in says] == ["just before"]


def test_messages_are_heard_in_order_and_answered(process: TaskProcess) -> None:
    hears = grant(process, "Hears", count="3")
    process.send(channel.Execute([hears]), deliver(hears.token, "a"), deliver(hears.token, "b"))
    process.send(deliver(hears.token, "c"))
    frames, report = until_finished(process)
    assert report.outcome is Outcome.DONE, report.error
    taken = [(one.letter, one.fate) for one in frames if isinstance(one, channel.Taken)]
    assert taken == [("a", Fate.TAKEN), ("b", Fate.TAKEN), ("c", Fate.TAKEN)]
    replies = [each for one in frames if isinstance(one, channel.Says) for each in one.replies]
    assert replies[::2] == [("a", "re a"), ("b", "re b"), ("c", "re c")]
    assert story(process)[0] == "a True {'n': '1'} a"


def test_other_frames_keep_their_order_while_a_listening_task_runs(process: TaskProcess) -> None:
    sleeps = grant(process, "Sleeps", gate="open")
    later = [process.grant("talkers", "During"), process.grant("talkers", "Fails")]
    process.send(channel.Execute([sleeps]), deliver(sleeps.token, "a"))
    assert process.get() == channel.Taken(sleeps.token, "a", Fate.TAKEN)
    process.send(channel.Execute(later[:1]), deliver("ab.1.99", "lost"), deliver(sleeps.token, "b"))
    process.send(channel.Execute(later[1:]))
    assert process.get() == channel.Taken("ab.1.99", "lost", Fate.GONE)
    assert process.get() == channel.Taken(sleeps.token, "b", Fate.TAKEN)
    (process.log_dir.parent / "open").touch()
    reports: list[Report] = []
    while len(reports) < 3:
        frame = process.get()
        reports += frame.reports if isinstance(frame, channel.Finished) else []
    assert [one.token for one in reports] == [sleeps.token, *(one.token for one in later)]
    assert "unread 2" in story(process)
    process.send(deliver(sleeps.token, "late"))
    assert process.get() == channel.Taken(sleeps.token, "late", Fate.GONE)


def test_queue_that_nobody_reads_is_bounded(process: TaskProcess) -> None:
    sleeps = grant(process, "Sleeps", gate="end")
    process.send(channel.Execute([sleeps]))
    fates = []
    for n in range(UNREAD_MAX + 5):
        process.send(deliver(sleeps.token, f"m{n}"))
        frame = process.get()
        assert isinstance(frame, channel.Taken)
        fates.append(frame.fate)
    assert fates == [Fate.TAKEN] * UNREAD_MAX + [Fate.FULL] * 5
    (process.log_dir.parent / "end").touch()
    assert until_finished(process)[1].outcome is Outcome.DONE


def test_parked_generator_keeps_its_queue_and_its_words(process: TaskProcess) -> None:
    parks = grant(process, "Parks")
    process.send(channel.Execute([parks]))
    says = process.get()
    assert isinstance(says, channel.Says) and says.words.status == "parking"
    assert isinstance(process.get(), channel.Parked)
    process.send(deliver(parks.token, "while parked"))
    assert process.get() == channel.Taken(parks.token, "while parked", Fate.TAKEN)
    process.send(channel.Continue(parks.token, 1))
    frame = process.get()
    if isinstance(frame, channel.Finished):
        assert frame.reports[0].outcome is Outcome.DONE
    assert "heard while parked" in story(process)


def test_task_that_waits_for_a_message_ends_by_sigterm(process: TaskProcess) -> None:
    process.send(channel.Execute([grant(process, "Waits")]))
    wait_until((process.log_dir.parent / "waiting").exists, "the task to wait")
    process.popen.send_signal(signal.SIGTERM)
    assert process.exit_code() == -signal.SIGTERM


def test_agent_that_is_gone_ends_a_process_whose_task_listens(process: TaskProcess) -> None:
    sleeps = grant(process, "Sleeps", gate="gone")
    process.send(channel.Execute([sleeps]), deliver(sleeps.token, "a"))
    assert isinstance(process.get(), channel.Taken)
    process._sock.close()
    (process.log_dir.parent / "gone").touch()
    assert process.exit_code() == 0


def test_in_process_server_hears_and_says_and_leaves_no_thread(tmp_path: Path) -> None:
    (tmp_path / "herehears.py").write_text(MODULE)
    sys.path.insert(0, str(tmp_path))
    ours, theirs = socket.socketpair()
    ours.settimeout(10)
    stop = threading.Event()
    before = set(threading.enumerate())
    thread = threading.Thread(target=serve_in_process, args=(theirs, stop.is_set))
    thread.start()
    splitter = channel.Splitter()
    frames: list[channel.FromProcess] = []

    def get() -> channel.FromProcess:
        while not frames:
            frames.extend(map(channel.unpack_at_agent, splitter.feed(ours.recv(1 << 20))))
        return frames.pop(0)

    try:
        assert isinstance(get(), channel.Up)
        from flow.identity import task_id_str

        params = {"count": "1"}
        task_id = task_id_str("Hears", params)
        hears = Grant("ab.1.1", task_id, "herehears", "Hears", pack(params), 1, 0, False, True)
        ours.sendall(channel.pack(channel.Execute([hears])))
        ours.sendall(channel.pack(deliver("ab.1.1", "a")))
        assert get() == channel.Taken("ab.1.1", "a", Fate.TAKEN)
        says = get()
        assert isinstance(says, channel.Says) and says.replies[0] == ("a", "re a")
        last = get()
        while not isinstance(last, channel.Finished):
            last = get()
        assert last.reports[0].outcome is Outcome.DONE, last.reports[0]
    finally:
        stop.set()
        thread.join(10)
        ours.close()
        theirs.close()
        sys.path.remove(str(tmp_path))
        del sys.modules["herehears"]
    wait_until(lambda: set(threading.enumerate()) <= before, "its threads to end")
