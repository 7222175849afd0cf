"""A pipeline whose outputs are all in one store, for tests of whole runs."""

from __future__ import annotations

import flow
from flow.format import UTF8, Gzip
from flow.targets import MockTarget, RemoteTarget, RunAnywayTarget


class Letter(flow.Task):
    """One part, compressed."""

    root = flow.Parameter()
    number = flow.IntParameter()

    def output(self):
        return RemoteTarget(f"{self.root}/letters/{self.number}.gz", UTF8 >> Gzip)

    def run(self):
        with self.output().open("w") as out:
            out.write(chr(ord("a") + self.number))


class Word(flow.Task):
    """All parts; one more comes up while it runs."""

    root = flow.Parameter()
    count = flow.IntParameter(default=12)

    def requires(self):
        return [Letter(root=self.root, number=number) for number in range(self.count)]

    def output(self):
        return RemoteTarget(f"{self.root}/word.txt")

    def run(self):
        last = yield Letter(root=self.root, number=25)
        with self.output().open("w") as out:
            for target in [*self.input(), last]:
                with target.open() as source:
                    out.write(source.read())


class Mocked(flow.Task):
    """Its output is only for tests."""

    number = flow.IntParameter()

    def output(self):
        return MockTarget(f"mocked-{self.number}")

    def run(self):
        with self.output().open("w") as out:
            out.write(str(self.number))


class ReadsMocked(flow.Task):
    """Reads what other processes mocked."""

    path = flow.Parameter()

    def requires(self):
        return [Mocked(number=number) for number in range(4)]

    def output(self):
        return flow.LocalTarget(self.path)

    def run(self):
        with self.output().open("w") as out:
            out.write("".join(each.open().read() for each in self.input()))


class Anyway(flow.Task):
    """Runs in every run."""

    log = flow.Parameter()

    def output(self):
        return RunAnywayTarget(self)

    def run(self):
        with open(self.log, "a") as out:
            out.write("ran\n")
        self.output().done()


class AfterAnyway(flow.WrapperTask):
    """Two families deep."""

    log = flow.Parameter()

    def requires(self):
        return Anyway(log=self.log)
