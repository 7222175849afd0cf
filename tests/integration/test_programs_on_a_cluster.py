"""One run, one program: what a module does or remembers is its own run's, on a real cluster.

Two workers serve run after run; nothing of one may show in another. With flow's own tasks and with
luigi's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cluster import Cluster, wait_until

#: What a module does to its process when it is imported; the task writes what it finds of it.
STATE = """
import os, signal
os.environ["SETTING_OF_A_MODULE"] = "kept"
os.chdir("/usr")
os.umask(0o027)
HEARD = []
signal.signal(signal.SIGUSR2, lambda number, frame: HEARD.append(number))
import {library} as lib

class Sees(lib.Task):
    n = lib.IntParameter()
    out = lib.Parameter()

    def output(self):
        return lib.LocalTarget(os.path.join(self.out, f"sees-{{self.n}}"))

    def run(self):
        os.kill(os.getpid(), signal.SIGUSR2)
        umask = os.umask(0)
        os.umask(umask)
        seen = (os.environ.get("SETTING_OF_A_MODULE"), os.getcwd(), f"{{umask:o}}", len(HEARD) > 0)
        with self.output().open("w") as file:
            file.write(" ".join(map(str, seen)))

class SeesAll(lib.WrapperTask):
    out = lib.Parameter()

    def requires(self):
        return [Sees(n=n, out=self.out) for n in range(8)]
"""

#: A value that is computed when the module is imported, and a version that is edited.
COMPUTED = """
import os, time
import {library} as lib
VERSION = {version}
MADE_AT = time.time_ns()

class Part(lib.Task):
    n = lib.IntParameter()
    out = lib.Parameter()
    stamp = lib.Parameter(default=str(MADE_AT))

    def output(self):
        return lib.LocalTarget(os.path.join(self.out, f"{{self.stamp}}-{{self.n}}"))

    def run(self):
        while os.path.exists(os.path.join(self.out, "hold")):
            time.sleep(0.02)
        with self.output().open("w") as file:
            file.write(str(VERSION))

class Parts(lib.WrapperTask):
    out = lib.Parameter()
    width = lib.IntParameter(default=12)

    def requires(self):
        return [Part(n=n, out=self.out) for n in range(self.width)]
"""

#: Two scripts of the same name, each with its own helper of the same name.
SCRIPT = """
import os
import helper
import {library} as lib

class Whose(lib.Task):
    n = lib.IntParameter()
    out = lib.Parameter()

    def output(self):
        return lib.LocalTarget(os.path.join(self.out, f"{{helper.OWNER}}-{{self.n}}"))

    def run(self):
        with self.output().open("w") as file:
            file.write(helper.OWNER)

class Everybody(lib.WrapperTask):
    out = lib.Parameter()

    def requires(self):
        return [Whose(n=n, out=self.out) for n in range(6)]
"""

#: Names and handlers for all tasks of its process.
LEAKS = """
import os
import {library} as lib
lib.namespace("leaking")

@lib.Task.event_handler(lib.Event.SUCCESS)
def heard(task):
    with open(os.path.join(os.environ["HOME"], "heard"), "a") as file:
        file.write(task.task_family + "\\n")

class Leaks(lib.Task):
    def complete(self):
        return False

    def run(self):
        pass
"""

PLAIN = """
import {library} as lib

class Plain(lib.Task):
    def complete(self):
        return False

    def run(self):
        pass
"""


@pytest.fixture(params=["flow", "luigi"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "c") as cluster:
        cluster.start("w1", "w2", slots=2)
        yield cluster


@pytest.fixture
def out(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


def submitted(cluster: Cluster, *words: str) -> None:
    done = cluster.flow("submit", *words)
    assert done.returncode == 0, done.stdout + done.stderr


def texts(out: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in sorted(out.iterdir()) if path.name != "hold"}


def test_module_state_holds_for_every_task_of_its_run_and_for_no_other(
    cluster: Cluster, out: Path, library: str
) -> None:
    (cluster.modules / "stateful.py").write_text(STATE.format(library=library))
    (cluster.modules / "plain.py").write_text(PLAIN.format(library=library))
    for place in ("first", "second"):
        (out / place).mkdir()
        submitted(cluster, "stateful", "SeesAll", "--out", str(out / place))
        assert set(texts(out / place).values()) == {"kept /usr 27 True"}
        assert len(texts(out / place)) == 8
        submitted(cluster, "plain", "Plain")


def test_value_made_at_import_is_of_its_run_and_the_next_run_makes_another(
    cluster: Cluster, out: Path, library: str
) -> None:
    (cluster.modules / "computed.py").write_text(COMPUTED.format(library=library, version=1))
    for count in (1, 2, 3):
        submitted(cluster, "computed", "Parts", "--out", str(out))
        stamps = {name.partition("-")[0] for name in texts(out)}
        assert len(stamps) == count and len(texts(out)) == 12 * count


def test_edited_module_runs_from_the_next_run_on_and_each_run_has_one_version(
    cluster: Cluster, out: Path, library: str
) -> None:
    module = cluster.modules / "computed.py"
    module.write_text(COMPUTED.format(library=library, version=1))
    for version in (1, 2, 3):
        place = out / str(version)
        place.mkdir()
        # same size, and within the second that file times may tell apart
        module.write_text(COMPUTED.format(library=library, version=version))
        submitted(cluster, "computed", "Parts", "--out", str(place))
        assert set(texts(place).values()) == {str(version)} and len(texts(place)) == 12


def test_module_edited_while_its_run_goes_on_does_not_change_the_run(
    cluster: Cluster, out: Path, library: str
) -> None:
    module = cluster.modules / "computed.py"
    module.write_text(COMPUTED.format(library=library, version=1))
    (out / "hold").touch()
    done = cluster.flow(
        *("submit", "--detach", "--json", "computed", "Parts", "--out", str(out)),
        *("--width", "40"),
    )
    assert done.returncode == 0, done.stderr
    wait_until(
        lambda: any(w["busy"] for w in cluster.list_workers()), "the first parts to be running"
    )
    module.write_text(COMPUTED.format(library=library, version=2))
    (out / "hold").unlink()
    cluster.wait_ended("r-1")
    assert set(texts(out).values()) == {"1"} and len(texts(out)) == 40


def test_scripts_in_different_folders_have_their_own_helpers(
    cluster: Cluster, out: Path, tmp_path: Path, library: str
) -> None:
    for owner in ("ada", "ben"):
        (tmp_path / owner).mkdir()
        (tmp_path / owner / "main.py").write_text(SCRIPT.format(library=library))
        (tmp_path / owner / "helper.py").write_text(f"OWNER = {owner!r}\n")
    for owner in ("ada", "ben", "ada"):
        submitted(cluster, str(tmp_path / owner / "main.py"), "Everybody", "--out", str(out))
    expected = {f"{owner}-{n}": owner for owner in ("ada", "ben") for n in range(6)}
    assert texts(out) == expected


def test_namespaces_and_handlers_of_a_module_reach_no_other_run(
    cluster: Cluster, library: str
) -> None:
    (cluster.modules / "leaks.py").write_text(LEAKS.format(library=library))
    (cluster.modules / "plain.py").write_text(PLAIN.format(library=library))
    for _ in range(2):
        submitted(cluster, "leaks", "leaking.Leaks")
        submitted(cluster, "plain", "Plain")
    heard = Path(cluster.env["HOME"]) / "heard"
    assert heard.read_text().split() == ["leaking.Leaks"] * 2


def test_settings_and_luigi_cfg_are_read_anew_for_each_run(cluster: Cluster, out: Path) -> None:
    configured = """
import os
import luigi, flow

class Says(flow.Task):
    out = flow.Parameter()
    n = flow.IntParameter()
    said = flow.Parameter(default="nothing")

    def output(self):
        return flow.LocalTarget(os.path.join(self.out, f"flow-{self.n}"))

    def run(self):
        with self.output().open("w") as file:
            file.write(self.said)

class LuigiSays(luigi.Task):
    out = luigi.Parameter()
    n = luigi.IntParameter()
    said = luigi.Parameter(default="nothing")

    def output(self):
        return luigi.LocalTarget(os.path.join(self.out, f"luigi-{self.n}"))

    def run(self):
        with self.output().open("w") as file:
            file.write(self.said)
"""
    (cluster.modules / "configured.py").write_text(configured)
    here = Path(os.readlink(f"/proc/{cluster.workers['w1'].pid}/cwd"))
    assert here.is_relative_to(cluster.root), "the workers' directory is a test's own"
    for n in ("1", "2"):
        (here / "flow.toml").write_text(f'task.Says.said = "toml {n}"\n')
        (here / "luigi.cfg").write_text(f"[LuigiSays]\nsaid = cfg {n}\n")
        submitted(cluster, "configured", "Says", "--out", str(out), "--n", n)
        submitted(cluster, "configured", "LuigiSays", "--out", str(out), "--n", n)
    assert texts(out) == {
        **{f"flow-{n}": f"toml {n}" for n in (1, 2)},
        **{f"luigi-{n}": f"cfg {n}" for n in (1, 2)},
    }


STAMPED = """
import os, time
import {library} as lib
STAMP = {stamp}

class Step(lib.Task):
    n = lib.IntParameter()
    out = lib.Parameter()

    def output(self):
        return lib.LocalTarget(os.path.join({folder}, STAMP, str(self.n)))

    def run(self):
        # until both workers have one
        with open(os.path.join(self.out, f"began-{{self.n}}"), "w"):
            pass
        while len([name for name in os.listdir(self.out) if name.startswith("began")]) < 4:
            time.sleep(0.02)
        with self.output().open("w") as file:
            file.write(STAMP)

class Last(lib.Task):
    out = lib.Parameter()

    def requires(self):
        return [Step(n=n, out=self.out) for n in range(4)]

    def run(self):
        for target in self.input():
            with target.open() as file:
                file.read()
"""


@pytest.mark.parametrize("library", ["flow", "luigi"])
def test_path_made_at_import_that_another_worker_lacks_is_explained(
    cluster: Cluster, out: Path, library: str
) -> None:
    text = STAMPED.format(library=library, stamp="str(time.time_ns())", folder="self.out")
    (cluster.modules / f"stamped_{library}.py").write_text(text)
    done = cluster.flow("submit", f"stamped_{library}", "Last", "--out", str(out))
    assert done.returncode == 30, done.stdout + done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    told = re.search(r"Step is done: (\S+) made it as (\S+), and (\S+) looks for (\S+): ", said)
    assert told is not None, said
    maker, made, here, looked_for = told.groups()
    assert maker != here and made != looked_for and Path(made).exists()
    assert {Path(made).name} == {Path(looked_for).name} and not Path(looked_for).exists()
    assert "made when the module is imported" in said and "make that a parameter" in said


def test_relative_path_that_another_worker_lacks_is_explained(tmp_path: Path, out: Path) -> None:
    with Cluster(tmp_path / "c") as cluster:
        for name in ("w1", "w2"):
            folder = tmp_path / name
            folder.mkdir()
            cluster.prefix[name] = ["env", f"--chdir={folder}"]
        cluster.start("w1", "w2", slots=2)
        text = STAMPED.format(library="flow", stamp="'same'", folder="'data'")
        (cluster.modules / "stamped.py").write_text(text)
        done = cluster.flow("submit", "stamped", "Last", "--out", str(out))
    assert done.returncode == 30, done.stdout + done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    told = re.search(r"Step is done: (\S+) made it as (\S+), and (\S+) looks for (\S+): ", said)
    assert told is not None, said
    assert Path(told[2]).exists() and not Path(told[4]).exists()
    assert f"its path is relative (data/same/{Path(told[2]).name})" in said
