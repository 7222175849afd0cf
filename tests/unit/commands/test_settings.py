"""Settings: which place wins, what is refused and how it is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flow.errors import ConfigError, ExitCode
from flow.settings.sections import ROOT_STATE_DIR, Settings, check_timing, load
from flow.wire.messages.shared import Timing


class Machine:
    """A made-up machine with a place for every file."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.project = self.home / "project"
        self.project.mkdir(parents=True)
        (self.project / ".git").mkdir()
        self.system = folder / "etc" / "flow.toml"
        self.user = self.home / ".config" / "flow" / "config.toml"
        self.env = {"HOME": str(self.home)}

    def write(self, path: Path, text: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def load(self, flags: dict[str, Any] | None = None, cwd: Path | None = None) -> Settings:
        return load(flags, env=self.env, cwd=cwd or self.project, system=self.system)

    def refuse(self, *parts: str) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            self.load()
        assert caught.value.exit_code == ExitCode.CONFIG
        assert caught.value.hint
        for part in parts:
            assert part in str(caught.value)
        return caught.value


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_load_of_nothing_gives_defaults(machine: Machine) -> None:
    assert machine.load() == Settings()
    assert machine.load().core.coordinator == "tcp://127.0.0.1:5570"
    assert machine.load().source("core.coordinator") == "the default"


def test_load_takes_the_strongest_place_key_by_key(machine: Machine) -> None:
    places: list[Callable[[], object]] = [
        lambda: machine.write(machine.system, "[worker]\nslots = 1\nname = 'etc'\n"),
        lambda: machine.write(machine.user, "[worker]\nslots = 2\n"),
        lambda: machine.write(machine.project / "flow.toml", "[worker]\nslots = 3\n"),
        lambda: machine.env.update(FLOW_WORKER__SLOTS="4"),
    ]
    for slots, place in enumerate(places, start=1):
        place()
        settings = machine.load()
        assert settings.worker.slots == slots
        assert settings.worker.name == "etc"
    assert machine.load({"worker.slots": 5}).worker.slots == 5
    assert machine.load({"worker.slots": None}).worker.slots == 4
    assert machine.load().source("worker.slots") == "the environment (FLOW_*)"
    assert machine.load().source("worker.name") == str(machine.system)


def test_load_from_a_subfolder_looks_up_to_the_repository_root(machine: Machine) -> None:
    machine.write(machine.home / "flow.toml", "[core]\nproject = 'outside'\n")
    below = machine.project / "a" / "b"
    below.mkdir(parents=True)
    assert machine.load(cwd=below).core.project == "default"
    machine.write(machine.project / "flow.toml", "[core]\nproject = 'mine'\n")
    assert machine.load(cwd=below).core.project == "mine"


def test_load_outside_a_repository_does_not_look_upwards(machine: Machine) -> None:
    machine.write(machine.home / "flow.toml", "[core]\nproject = 'home'\n")
    below = machine.home / "other"
    below.mkdir()
    assert machine.load(cwd=below).core.project == "default"
    assert machine.load(cwd=machine.home).core.project == "home"


def test_load_reads_pyproject_only_with_its_section(machine: Machine) -> None:
    pyproject = machine.write(machine.project / "pyproject.toml", "[project]\nname = 'x'\n")
    assert machine.load() == Settings()
    machine.write(pyproject, "[tool.flow.core]\nproject = 'py'\n")
    assert machine.load().core.project == "py"
    assert machine.load().source("core.project") == f"{pyproject} [tool.flow]"
    machine.write(machine.project / "flow.toml", "[core]\nproject = 'own'\n")
    assert machine.load().core.project == "own"


def test_broken_pyproject_of_other_tools_is_not_our_error(machine: Machine) -> None:
    machine.write(machine.project / "pyproject.toml", "[project\n")
    assert machine.load() == Settings()


def test_environment_names_the_coordinator(machine: Machine) -> None:
    machine.env["FLOW_COORDINATOR"] = "node1:5570"
    assert machine.load().core.coordinator == "tcp://node1:5570"
    flags = {"core.coordinator": "ipc:///run/x"}
    assert machine.load(flags).core.coordinator == "ipc:///run/x"


def test_environment_sets_every_kind_of_value(machine: Machine) -> None:
    machine.env |= {
        "FLOW_WORKER__RESOURCES": "gpu=1,db=2",
        "FLOW_WORKER__PATH": "/a:/b",
        "FLOW_WORKER__RUNNER_MEMORY_MAX": "2GiB",
        "FLOW_WORKER__NAME": "",
        "FLOW_RETRY__JITTER": "0.5",
        "FLOW_RESOURCES__db": "4",
        "FLOW_TASK__Load__region": "EU",
        "FLOW_TOKEN": "not a setting",
    }
    settings = machine.load()
    assert settings.worker.resources == {"gpu": 1.0, "db": 2.0}
    assert settings.worker.path == ["/a", "/b"]
    assert settings.worker.runner_memory_max == 2 << 30
    assert settings.retry.jitter == 0.5
    assert settings.resources == {"db": 4.0}
    assert settings.task_default("Load", "region") == "EU"


def test_task_section_gives_texts_to_parse(machine: Machine) -> None:
    machine.write(
        machine.project / "flow.toml",
        "[task.Load]\nregion = 'EU'\ncount = 3\nratio = 0.5\nfast = true\nday = 2026-11-20\n"
        "names = ['a', 'b']\nmy-dash = 1\n[task.'ns.Load']\nregion = 'US'\n",
    )
    machine.write(machine.user, "[task.Load]\nregion = 'weaker'\nonly = 'user'\n")
    settings = machine.load()
    names = ("region", "count", "ratio", "fast", "day", "names", "my_dash", "only", "none")
    assert [settings.task_default("Load", name) for name in names] == [
        *("EU", "3", "0.5", "true", "2026-11-20", '["a", "b"]', "1", "user"),
        None,
    ]
    assert settings.task_default("ns.Load", "region") == "US"
    assert settings.task_default("Other", "region") is None


def test_texts_take_variables_of_the_environment(machine: Machine) -> None:
    machine.env |= {"TEAM": "sales", "SLOTS": "7"}
    machine.write(
        machine.project / "flow.toml",
        "[core]\nproject = '${TEAM}-x'\n[worker]\nslots = '${SLOTS}'\nname = '$${TEAM}'\n",
    )
    settings = machine.load()
    assert settings.core.project == "sales-x"
    assert (settings.worker.slots, settings.worker.name) == (7, "${TEAM}")
    del machine.env["TEAM"]
    assert "export TEAM" in machine.refuse("TEAM", "flow.toml").hint


def test_relative_paths_start_at_their_file(machine: Machine) -> None:
    text = "[coordinator]\nstate_dir = 'state'\n[worker]\npath = ['lib', '/abs']\n"
    machine.write(machine.project / "flow.toml", text)
    below = machine.project / "a"
    below.mkdir()
    settings = machine.load(cwd=below)
    assert settings.state_path() == machine.project / "state"
    assert settings.worker.path == [str(machine.project / "lib"), "/abs"]


@pytest.mark.parametrize(
    ("text", "parts", "hint"),
    [
        ("[worker]\nslotz = 2\n", ["flow.toml", "[worker]", "'slotz'"], "'slots'"),
        ("[workers]\nslots = 2\n", ["flow.toml", "section", "'workers'"], "'worker'"),
        ("[core]\nxyzzy = 2\n", ["'xyzzy'"], "known: code_dir, coordinator, project"),
        ("[worker]\nslots = -1\n", ["[worker] slots", "-1"], ""),
        ("[worker]\nslots = 'many'\n", ["[worker] slots", "'many'"], ""),
        ("[worker]\nslots = [1]\n", ["[worker] slots"], ""),
        ("worker = 3\n", ["worker is not a section"], "[worker]"),
        ("[task]\nregion = 'EU'\n", ["[task] region is not a section"], "[task.region]"),
        ("[retry]\ndelay_s = nan\n", ["[retry] delay_s", "finite"], ""),
        ("[retry]\ndelay_s = 'inf'\n", ["[retry] delay_s", "finite"], ""),
        ("[retry]\njitter = 1.5\n", ["[retry] jitter"], ""),
        ("[retry]\ncount = 0\n", ["[retry] count"], ""),
        ("[resources]\ndb = -1\n", ["[resources] db", "-1"], ""),
        ("[resources]\ndb = nan\n", ["[resources] db"], ""),
        ("[worker.resources]\nmemory = 'lots'\n", ["[worker] resources memory"], ""),
        ("[worker]\nresources = 'gpu'\n", ["[worker] resources", "gpu"], ""),
        ("[coordinator]\nlease_profile = 'slow'\n", ["lease_profile", "slow"], ""),
        ("[core\n", ["flow.toml", "line 1"], "correct"),
    ],
)
def test_load_of_mistake_names_file_key_and_remedy(
    machine: Machine, text: str, parts: list[str], hint: str
) -> None:
    machine.write(machine.project / "flow.toml", text)
    assert hint in machine.refuse(*parts).hint


def test_mistake_in_a_weaker_place_is_refused_too(machine: Machine) -> None:
    machine.write(machine.system, "[worker]\nslots = 'x'\n")
    machine.write(machine.project / "flow.toml", "[worker]\nslots = 2\n")
    machine.refuse(str(machine.system), "slots")


def test_unknown_variable_is_refused_with_suggestion(machine: Machine) -> None:
    machine.env["FLOW_WORKER__SLOT"] = "3"
    assert "'slots'" in machine.refuse("environment", "'slot'").hint


def test_file_that_is_not_text_is_refused(machine: Machine) -> None:
    (machine.project / "flow.toml").write_bytes(b"\xff\xfe\x00")
    machine.refuse("flow.toml")


@pytest.mark.parametrize(
    ("profile", "expected", "term_s"),
    [
        ("default", Timing(5.0, 60.0, 5.0, 2.0), 62.6),
        ("fast", Timing(1.0, 10.0, 2.0, 1.0), 11.1),
        ("hpc", Timing(10.0, 300.0, 15.0, 10.0), 313.0),
    ],
)
def test_lease_profile_gives_the_protocols_numbers(
    machine: Machine, profile: str, expected: Timing, term_s: float
) -> None:
    timing = machine.load({"coordinator.lease_profile": profile}).timing()
    assert timing == expected
    assert timing.term_s == pytest.approx(term_s)


def test_single_values_change_the_profile(machine: Machine) -> None:
    flags = {"coordinator.lease_profile": "fast", "coordinator.lease_s": 20.0}
    assert machine.load(flags).timing() == Timing(1.0, 20.0, 2.0, 1.0)


@pytest.mark.parametrize(
    ("timing", "word"),
    [
        (Timing(heartbeat_s=0.19), "heartbeat_s is 0.19"),
        (Timing(margin_s=0.99), "margin_s is 0.99"),
        (Timing(heartbeat_s=5.0, lease_s=25.0, kill_s=5.0), "more than kill_s + 4 x heartbeat_s"),
        (Timing(heartbeat_s=1.0, lease_s=3.0, kill_s=5.0), "= 9"),
    ],
)
def test_timing_outside_the_protocols_bounds_is_refused(timing: Timing, word: str) -> None:
    with pytest.raises(ConfigError, match="lease timing") as caught:
        check_timing(timing)
    assert word in str(caught.value)


def test_timing_at_the_protocols_bounds_is_accepted() -> None:
    check_timing(Timing(heartbeat_s=0.2, lease_s=5.81, kill_s=5.0, margin_s=1.0))


def test_state_path_without_setting_is_the_platforms(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert Settings().state_path(machine.env) == ROOT_STATE_DIR
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert Settings().state_path(machine.env) == machine.home / ".local" / "state" / "flow"
    assert Settings().state_path({"XDG_STATE_HOME": "/x"}) == Path("/x/flow")


def test_prepare_state_path_makes_parents_of_the_default_only(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    path = Settings().prepare_state_path(machine.env)
    assert path.parent.is_dir()
    assert not path.exists()
    named = machine.load({"coordinator.state_dir": str(machine.home / "typo" / "state")})
    assert not named.prepare_state_path(machine.env).parent.exists()


@pytest.mark.parametrize(
    ("written", "read"),
    [("data", "{project}/data"), ("/data", "/data"), ("s3://b/x", "s3://b/x"), ("", "")],
)
def test_load_of_a_storage_root_starts_where_it_is_written(
    machine: Machine, written: str, read: str
) -> None:
    machine.write(machine.project / "flow.toml", f"[storage]\nroot = '{written}'\n")
    assert machine.load(cwd=machine.project).storage.root == read.format(project=machine.project)
    machine.env["FLOW_STORAGE__ROOT"] = written
    assert machine.load().storage.root == read.format(project=Path.cwd())


def test_section_of_a_task_in_a_namespace_needs_no_quotes(machine: Machine) -> None:
    machine.write(
        machine.project / "flow.toml",
        '[task.space.sub.A]\nx = 1\n[task."space.sub.B"]\ny = 2\n[task.C]\nz = { D = 3 }\n',
    )
    found = machine.load()
    assert found.task_default("space.sub.A", "x") == "1"
    assert found.task_default("space.sub.B", "y") == "2"
    assert found.task_default("C", "z") == '{"D": 3}'


def test_file_of_an_editor_that_marks_its_encoding_is_read(machine: Machine) -> None:
    (machine.project / "flow.toml").write_bytes(b"\xef\xbb\xbf[core]\nproject = 'x'\n")
    assert machine.load().core.project == "x"


@pytest.mark.parametrize(
    ("name", "text", "hint"),
    [
        ("FLOW_TASK__Words", "x", "FLOW_TASK__Family__parameter"),
        ("FLOW_TASK__Words__", "x", "FLOW_TASK__Family__parameter"),
        ("FLOW_RESOURCES__", "1", "FLOW_RESOURCES__KEY"),
        ("FLOW_CORE__PROJECT", "\udcff", "correct FLOW_CORE__PROJECT"),
    ],
)
def test_variable_that_sets_nothing_is_refused(
    machine: Machine, name: str, text: str, hint: str
) -> None:
    machine.env[name] = text
    assert hint in (machine.refuse(name).hint or "")


@pytest.mark.parametrize("text", ['tool = "flow"', "[tool]\nflow = 1", "[tool]\nflow = [1]"])
def test_pyproject_of_another_shape_is_no_crash(machine: Machine, text: str) -> None:
    machine.write(machine.project / "pyproject.toml", text)
    if "[tool]" in text:
        machine.refuse("tool.flow is not a section")
    else:
        assert machine.load() == Settings()
