"""A pipeline written for gokart, as its users write them: nothing in it knows of flow."""

import datetime
import json
import os

import gokart
import luigi
import pandas as pd


def note(text):
    with open("notes.txt", "a") as notes:
        notes.write(text + "\n")


class Raw(gokart.TaskOnKart):
    n = luigi.IntParameter(default=3)

    def run(self):
        note(f"raw {self.n}")
        self.dump(list(range(self.n)))


class Sum(gokart.TaskOnKart):
    data = gokart.TaskInstanceParameter()
    scale = luigi.FloatParameter(default=2.0)

    def run(self):
        self.dump(sum(self.load("data")) * self.scale)


class Frame(gokart.TaskOnKart):
    parts = gokart.ListTaskInstanceParameter()

    def output(self):
        return self.make_target("frame.csv")

    def run(self):
        self.dump(pd.DataFrame({"value": self.load("parts")}))


class Everything(gokart.TaskOnKart):
    """Hands over tasks with parameters that do not count for their ids."""

    def requires(self):
        return Frame(
            parts=[
                Sum(data=Raw(n=4)),
                Sum(data=Raw(n=5, workspace_directory="./elsewhere/"), scale=1.5),
                Sum(data=ListOf(tasks=[Raw(n=2), Raw(n=3)])),
            ]
        )

    def run(self):
        self.dump(float(self.load().value.sum()))


class ListOf(gokart.TaskOnKart):
    tasks = gokart.ListTaskInstanceParameter()

    def run(self):
        self.dump([len(each) for each in self.load(list(self.tasks))])


class Point:
    def __init__(self, x):
        self.x = x

    def gokart_serialize(self):
        return json.dumps({"x": self.x})

    @classmethod
    def gokart_deserialize(cls, text):
        return cls(json.loads(text)["x"])


class Kinds(gokart.TaskOnKart):
    point = gokart.SerializableParameter(Point, default=Point(3))
    when = gokart.ZonedDateSecondParameter(
        default=datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
    )
    yes = gokart.ExplicitBoolParameter(default=True)

    def output(self):
        return {"a": self.make_target("a.txt"), "b": self.make_target("b/b.json")}

    def run(self):
        self.dump(f"{self.point.x} {self.when.isoformat()} {self.yes}", "a")
        self.dump(pd.DataFrame({"x": [self.point.x]}), "b")


class Model(gokart.TaskOnKart):
    def output(self):
        return self.make_model_target("model.zip", save_function=save, load_function=load)

    def run(self):
        self.dump({"weights": [1, 2]})


class Reads(gokart.TaskOnKart):
    def requires(self):
        return {"model": Model(), "kinds": Kinds()}

    def output(self):
        return self.make_target("reads.txt")

    def run(self):
        self.dump(f"{self.load('model')} {self.load('kinds')['a']}")


def save(value, path):
    with open(path, "w") as file:
        json.dump(value, file)


def load(path):
    with open(path) as file:
        return json.load(file)


class Coded(gokart.TaskOnKart):
    """Its source counts for its id."""

    serialized_task_definition_check = gokart.ExplicitBoolParameter(default=True)

    def run(self):
        self.dump("coded")


class Empty(gokart.TaskOnKart):
    fail_on_empty_dump = gokart.ExplicitBoolParameter(default=True)

    def run(self):
        self.dump(pd.DataFrame())


class Asks(gokart.TaskOnKart):
    def run(self):
        raw = Raw(n=6)
        yield raw
        self.dump(len(raw.output().load()))


class Strict(gokart.TaskOnKart):
    """Asks whether its requirement is complete; that one was told to run again."""

    def requires(self):
        return Raw(n=7, rerun=True)

    def run(self):
        self.dump(len(self.load()))


class Located(gokart.TaskOnKart):
    def run(self):
        self.dump(self.workspace_directory)


class Elsewhere(gokart.TaskOnKart):
    """Gets a task of a module that this one does not import."""

    task = gokart.TaskInstanceParameter()

    def run(self):
        self.dump([self.load("task"), os.path.basename(self.task.output().path())])
