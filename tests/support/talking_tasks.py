"""Tasks that say and hear things. Copied as ``flowtasks`` beside ``ledger_writer``."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import Any

from ledger_writer import executing, note, wait_for  # type: ignore[import-not-found]

import flow

HERE = Path(__file__).parent


class Talks(flow.Task):
    """Base: one output file, named after itself."""

    key = flow.StrParameter()

    def name(self) -> str:
        return f"{type(self).__name__}-{self.key}"

    def output(self) -> Any:
        return flow.LocalTarget(str(HERE / "out" / self.name()))

    def work(self) -> Any:
        """What it does."""

    def run(self) -> Any:
        assert self.set_status_message is not None
        with executing(self.name()):
            self.work()
            with self.output().open("w") as out:
                out.write("done")


class Says(Talks):
    """Says everything there is, once before and once after a gate."""

    def work(self) -> None:
        self.set_status_message("copying")
        self.set_progress_percentage(12)
        self.set_tracking_url("http://tracker/7")
        wait_for(f"half-{self.key}")
        threads = [
            threading.Thread(target=self.set_progress_percentage, args=(n,)) for n in range(50)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.set_status_message("x" * 5_000 + "\nnearly")
        self.set_status_message("nearly there")
        self.set_progress_percentage(99.5)
        wait_for(f"end-{self.key}")
        self.set_status_message("all copied")
        self.set_progress_percentage(100)


class Holder(Talks):
    """Holds a resource, gives a part of it back, and goes on."""

    priority = 9
    resources = {"pool": 3}

    def work(self) -> None:
        wait_for(f"give-{self.key}")
        self.decrease_running_resources({"pool": 1})
        self.decrease_running_resources({"pool": 1, "unknown": 7})
        note("gave", self.name())
        wait_for(f"end-{self.key}")


class Wants(Talks):
    """Needs what the holder gives back."""

    resources = {"pool": 2}

    def work(self) -> None:
        wait_for(f"wants-{self.key}")


class Pair(flow.WrapperTask):
    """A holder, and somebody who waits for it."""

    key = flow.StrParameter()

    def requires(self) -> Any:
        return [Holder(key=self.key), Wants(key=self.key)]


class Listener(Talks):
    """Answers each message until it is told to end."""

    accepts_messages = True

    def work(self) -> None:
        while True:
            message = self.scheduler_messages.get(timeout=60)
            note("heard", self.name(), str(message))
            if message == "end":
                message.respond({"said": "bye"})
                return
            if message != "silent":
                message.respond(f"got {message.content}")


class NeverReads(Talks):
    """Has a queue and does not look."""

    accepts_messages = True

    def work(self) -> None:
        wait_for(f"end-{self.key}")
        unread = self.scheduler_messages.qsize()
        try:
            while True:
                self.scheduler_messages.get_nowait()
        except queue.Empty:
            note("unread", self.name(), str(unread))
        assert self.scheduler_messages.empty()


class Yielding(Talks):
    """Hears what was sent while its generator was parked."""

    accepts_messages = True

    def run(self) -> Any:
        self.set_status_message("before the yield")
        yield Says(key=self.key)
        heard = []
        while not self.scheduler_messages.empty():
            heard.append(str(self.scheduler_messages.get()))
        note("heard", self.name(), ",".join(heard))
        with self.output().open("w") as out:
            out.write("done")


class Context:
    """A ``task_process_context``."""

    def __init__(self, process: Any) -> None:
        self._process = process

    def __enter__(self) -> None:
        note("enter", type(self._process.task).__name__)

    def __exit__(self, *error: object) -> None:
        note("exit", type(self._process.task).__name__, str(error[0]))
        self._process.status_reporter.report_task_statistics({"rows": 42, "took": 1.5})
