"""A pipeline written for Luigi, as users write them: nothing in it knows of flow.

Tests copy it as ``pipeline.py`` and run it both ways. Outputs are named by task ids, so that equal
trees of files mean equal ids.
"""

import datetime
import enum
import os

import luigi
import luigi.mock
import luigi.util
from luigi.contrib.external_program import ExternalProgramTask


class Kind(enum.Enum):
    RED = 1
    BLUE = 2


def note(text):
    """Append a line that both ways must have written, in any order."""
    with open("notes.txt", "a") as notes:
        notes.write(text + "\n")


class Written(luigi.Task):
    """Writes its name."""

    def output(self):
        return luigi.LocalTarget(f"out/{self.task_id}.txt")

    def run(self):
        with self.output().open("w") as out:
            out.write(repr(sorted(self.to_str_params().items())))


class Leaf(Written):
    n = luigi.IntParameter(description="which one")


class Fan(Written):
    width = luigi.IntParameter(default=5)

    def requires(self):
        for n in range(self.width):
            yield Leaf(n)

    def run(self):
        with self.output().open("w") as out:
            out.write("\n".join(target.open().read() for target in self.input()))


class Many(Written):
    """One of each kind of parameter."""

    text = luigi.Parameter(default="a b/ü")
    day = luigi.DateParameter(default=datetime.date(2026, 11, 20))
    hour = luigi.DateHourParameter(default=datetime.datetime(2026, 11, 20, 7))
    span = luigi.DateIntervalParameter(default=luigi.date_interval.Week(2026, 7))
    delta = luigi.TimeDeltaParameter(default=datetime.timedelta(hours=36))
    share = luigi.FloatParameter(default=0.1)
    yes = luigi.BoolParameter()
    names = luigi.ListParameter(default=["x", ["y", 1]])
    pairs = luigi.TupleParameter(default=((1, 2), (3, 4)))
    table = luigi.DictParameter(default={"b": [1, 2], "a": {"c": None}})
    kind = luigi.EnumParameter(enum=Kind, default=Kind.BLUE)
    kinds = luigi.EnumListParameter(enum=Kind, default=(Kind.RED, Kind.BLUE))
    size = luigi.ChoiceParameter(choices=["s", "m"], default="m")
    near = luigi.NumericalParameter(var_type=int, min_value=0, max_value=9, default=3)
    maybe = luigi.OptionalIntParameter(default=None)
    of = luigi.TaskParameter(default=Leaf)
    path = luigi.PathParameter(default="some/where")
    quiet = luigi.IntParameter(default=3, significant=False)
    hidden = luigi.Parameter(default="h", visibility=luigi.parameter.ParameterVisibility.HIDDEN)
    secret = luigi.Parameter(default="s", visibility=luigi.parameter.ParameterVisibility.PRIVATE)


class Unset(Written):
    """Has defaults that are no values of their parameters."""

    n = luigi.IntParameter(default=None)
    day = luigi.DateParameter(default=None)
    names = luigi.ListParameter(default=None)
    share = luigi.FloatParameter(default="all")


class AsksUnset(luigi.WrapperTask):
    def requires(self):
        return [Unset(), Unset(n=1), Unset(day=datetime.date(2026, 1, 1))]


class AsksMany(Written):
    def requires(self):
        return {"many": Many(text="x" * 40, yes=True, quiet=4), "leaf": [Leaf(1), {"two": Leaf(2)}]}

    def run(self):
        texts = [self.input()["many"].open().read(), self.input()["leaf"][1]["two"].open().read()]
        with self.output().open("w") as out:
            out.write("\n".join(texts))


class Dynamic(Written):
    def run(self):
        first = yield Leaf(1)
        both = yield {"a": Leaf(2), "b": [Leaf(3)]}

        def both_there(complete):
            return complete(Leaf(4)) and complete(Leaf(5))

        yield luigi.DynamicRequirements([Leaf(4), Leaf(5)], both_there)
        third = yield luigi.DynamicRequirements({"c": Leaf(5)})
        targets = [first, both["a"], both["b"][0], third["c"]]
        with self.output().open("w") as out:
            out.write("\n".join(target.open().read() for target in targets))


class Wrapper(luigi.WrapperTask):
    def requires(self):
        return [Fan(width=2), Many()]


class Silent(luigi.Task):
    """Has no output at all."""

    n = luigi.IntParameter(default=0)

    def requires(self):
        return [Silent(n=self.n - 1)] if self.n else []

    def run(self):
        note(f"ran {self.task_id}")


class Given(luigi.ExternalTask):
    name = luigi.Parameter()

    def output(self):
        return luigi.LocalTarget(f"given/{self.name}")


class NeedsGiven(Written):
    def requires(self):
        return [Given(name="nothing"), Leaf(1)]


class Fails(luigi.Task):
    why = luigi.Parameter(default="because")

    def run(self):
        raise RuntimeError(self.why)

    def on_failure(self, exception):
        note(f"on_failure {exception}")
        return super().on_failure(exception)


class HalfFails(luigi.WrapperTask):
    def requires(self):
        return [Fails(), Leaf(3)]


class BrokenRequires(Written):
    def requires(self):
        raise ValueError("no requirements today")


class BrokenComplete(Written):
    def complete(self):
        raise ValueError("who knows")


class NumberComplete(Written):
    """What equals True or False will do."""

    def complete(self):
        return int(os.path.exists(self.output().path))


class TextComplete(Written):
    def complete(self):
        return "yes"


class Spoken(Written):
    def on_success(self):
        note("on_success")


for event in (luigi.Event.START, luigi.Event.SUCCESS):

    @Spoken.event_handler(event)
    def noted(task, event=event):
        note(f"{event} {task.task_id}")


@Spoken.event_handler(luigi.Event.PROCESSING_TIME)
def timed(task, seconds):
    note(f"processing time of {task.task_id} is {type(seconds).__name__}")


@Fails.event_handler(luigi.Event.FAILURE)
def failed(task, exception):
    note(f"failure of {task.task_id}: {exception!r}")


class settings(luigi.Config):
    color = luigi.Parameter(default="none")
    size = luigi.IntParameter(default=1)


class Configured(Written):
    """``luigi.cfg`` gives these."""

    given = luigi.Parameter(default="not")
    number = luigi.IntParameter(default=0)

    def run(self):
        with self.output().open("w") as out:
            out.write(f"{self.given} {self.number} {settings().color} {settings().size}")


@luigi.util.inherits(Leaf)
class Heir(Written):
    more = luigi.IntParameter(default=2)

    def requires(self):
        return self.clone(Leaf)


@luigi.util.requires(Heir)
class AfterHeir(Written):
    pass


@luigi.util.copies(Leaf)
class Copied(luigi.Task):
    def output(self):
        return luigi.LocalTarget(f"out/{self.task_id}.txt")


@luigi.util.delegates
class Delegating(Written):
    def subtasks(self):
        return [Leaf(n) for n in (7, 8)]

    def run(self):
        with self.output().open("w") as out:
            out.write("".join(task.task_id for task in self.subtasks()))


class Hidden(Written):
    """Adds what is no input."""

    def _requires(self):
        return [*super()._requires(), Leaf(9)]


class Spaced(Written):
    task_namespace = "some.space"

    def requires(self):
        return Leaf(1)


class Mocked(luigi.Task):
    def output(self):
        return luigi.mock.MockTarget("somewhere")

    def run(self):
        with self.output().open("w") as out:
            out.write("kept")


class ReadsMocked(Written):
    def requires(self):
        return Mocked()

    def run(self):
        with self.output().open("w") as out, self.input().open() as source:
            out.write(source.read())


class Program(ExternalProgramTask):
    def output(self):
        return luigi.LocalTarget("program.txt")

    def program_args(self):
        return ["sh", "-c", "echo from the program > program.txt"]


class BadProgram(ExternalProgramTask):
    def program_args(self):
        return ["sh", "-c", "echo oh no >&2; exit 3"]


class Daily(Written):
    day = luigi.DateParameter()


class Yesterdays(Written):
    """Asks luigi what came before."""

    def requires(self):
        return luigi.util.previous(Daily(day=datetime.date(2026, 3, 1)))


class Off(Written):
    disabled = True


class NeedsOff(Written):
    def requires(self):
        return [Off(), Leaf(1)]


class Says(Written):
    """Speaks while it runs, and cannot before and after."""

    resources = {"db": 2}

    def on_success(self):
        note(f"after: {self.set_status_message} {self.decrease_running_resources}")

    def run(self):
        self.set_status_message("half of it")
        self.set_progress_percentage(50)
        self.set_tracking_url("http://example.org/1")
        self.decrease_running_resources({"db": 1})
        note(f"messages: {self.scheduler_messages}")
        super().run()


class Around:
    """What ``task_process_context`` may name."""

    def __init__(self, process):
        self.process = process

    def __enter__(self):
        note(f"enter {self.process.task.task_id}")

    def __exit__(self, *error):
        note(f"exit {self.process.task.task_id}")


class Hears(luigi.Task):
    accepts_messages = True

    def run(self):
        message = self.scheduler_messages.get(timeout=60)
        note(f"heard {message}")
        message.respond(f"{message} yourself")


class Batched(Written):
    """Several of these run as the one with the greatest number."""

    n = luigi.IntParameter(batch_method=max)
    group = luigi.Parameter(default="g")
    max_batch_size = 4

    def output(self):
        return luigi.LocalTarget(f"out/{self.group}-{self.n // 100}.txt")

    def run(self):
        note(f"batch ran {self.n}")
        super().run()


class Batches(luigi.WrapperTask):
    def requires(self):
        return [Batched(n=n) for n in range(8)]
