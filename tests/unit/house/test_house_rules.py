"""The house rules hold, and each of them can fail."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from tests.support import house_rules as rules
from tests.support.house_rules import SOURCE_FOLDERS, Source, parse, read_all

Rule = Callable[[Source], Iterator[str]]

#: Rules for the three packages.
FOR_PACKAGES: list[Rule] = [
    rules.check_import_table,
    rules.check_core_purity,
    rules.check_worker_rooms,
    rules.check_handlers,
    rules.check_sleep,
    rules.check_asyncio,
    rules.check_number_names,
    rules.check_docstrings,
]
#: Rules for the tests as well.
FOR_ALL: list[Rule] = [rules.check_size, rules.check_pickle]
SETTINGS_FILES = (
    "common/flow/settings/sections.py",
    "coordinator/flow_coordinator/core/config.py",
    "worker/flow_worker/core/config.py",
)


@pytest.fixture(scope="module")
def packages() -> list[Source]:
    return read_all(*SOURCE_FOLDERS)


@pytest.fixture(scope="module")
def everything(packages: list[Source]) -> list[Source]:
    return packages + read_all("tests")


@pytest.mark.parametrize("rule", FOR_PACKAGES, ids=lambda rule: rule.__name__)
def test_packages_obey(rule: Rule, packages: list[Source]) -> None:
    assert [complaint for source in packages for complaint in rule(source)] == []


@pytest.mark.parametrize("rule", FOR_ALL, ids=lambda rule: rule.__name__)
def test_packages_and_tests_obey(rule: Rule, everything: list[Source]) -> None:
    assert [complaint for source in everything for complaint in rule(source)] == []


def test_settings_fields_name_their_units(packages: list[Source]) -> None:
    found = [source for source in packages if source.path in SETTINGS_FILES]
    assert len(found) == len(SETTINGS_FILES)
    assert [each for source in found for each in rules.check_settings_names(source)] == []


#: Classes that are one concept on both sides; ``Event`` is Luigi's name for what authors handle.
TWINS = {"Effect", "Event", "Send", "Note", "Received", "TurnEnded"}


def test_no_two_classes_have_one_name(packages: list[Source]) -> None:
    twins = {each.split()[0] for each in rules.find_twins(packages)}
    assert twins == TWINS


def test_every_package_says_what_lives_there(everything: list[Source]) -> None:
    for source in everything:
        if source.is_package:
            assert source.text.strip(), f"{source.path} is empty"


def test_allowed_places_exist(packages: list[Source]) -> None:
    modules = {source.module for source in packages}
    assert sorted(set(rules.BROAD_HANDLERS) - modules) == []


def test_ruff_finds_nothing() -> None:
    command = [sys.executable, "-m", "ruff", "check", "--quiet", "--no-cache", "."]
    done = subprocess.run(command, cwd=rules.REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_would_format_nothing() -> None:
    command = [sys.executable, "-m", "ruff", "format", "--check", "--quiet", "--no-cache", "."]
    done = subprocess.run(command, cwd=rules.REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.long
def test_mypy_finds_nothing() -> None:
    command = [sys.executable, "-m", "mypy"]
    done = subprocess.run(command, cwd=rules.REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


CORE = "coordinator/flow_coordinator/core/x.py"
SHELL = "coordinator/flow_coordinator/shell/x.py"
STORE = "coordinator/flow_coordinator/store/x.py"
WORKER = "worker/flow_worker/x.py"
PROCESS = "worker/flow_worker/process/x.py"
PLANNER = "worker/flow_worker/planner/x.py"
GUARD = "worker/flow_worker/guard/x.py"
TASK = "common/flow/task.py"
CLI = "common/flow/cli/x.py"
LONG_FUNCTION = "def f():\n" + "    a = 1\n" * 70


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (rules.check_import_table, STORE, "from flow.wire.messages import shared"),
        (rules.check_import_table, STORE, "from ..core import records"),
        (rules.check_import_table, SHELL, "def f():\n    import zmq"),
        (rules.check_core_purity, CORE, "import time"),
        (rules.check_core_purity, CORE, "def f():\n    from os import path"),
        (rules.check_core_purity, CORE, "import random"),
        (rules.check_core_purity, CORE, "from random import choice"),
        (rules.check_core_purity, CORE, "from flow_coordinator.store import base"),
        (rules.check_core_purity, "worker/flow_worker/core/x.py", "import logging"),
        (
            rules.check_core_purity,
            "worker/flow_worker/core/x.py",
            "from flow.settings.sections import load",
        ),
        (
            rules.check_core_purity,
            "worker/flow_worker/core/x.py",
            "from flow_worker.guard import kill",
        ),
        (
            rules.check_core_purity,
            "worker/flow_worker/core/x.py",
            "from flow_worker import capacity, channel",
        ),
        (rules.check_worker_rooms, PROCESS, "from flow_worker.core import config"),
        (rules.check_worker_rooms, PROCESS, "from flow_worker.core.config import QUIET_S"),
        (
            rules.check_worker_rooms,
            PROCESS,
            "def f():\n    from flow_worker.guard import supervisor",
        ),
        (rules.check_worker_rooms, PLANNER, "import flow_worker.guard.kill"),
        (rules.check_worker_rooms, GUARD, "from flow_worker.shell.nursery import Nursery"),
        (rules.check_worker_rooms, GUARD, "from flow_worker.planner import walk"),
        (rules.check_worker_rooms, "worker/flow_worker/channel.py", "import flow_worker.process"),
        (rules.check_size, CLI, "a = 1\n" * 601),
        (rules.check_size, "tests/unit/x.py", LONG_FUNCTION),
        (rules.check_pickle, "tests/unit/x.py", "def f():\n    from pickle import loads"),
        (rules.check_handlers, CLI, "try:\n    a()\nexcept:\n    raise"),
        (rules.check_handlers, CLI, "try:\n    a()\nexcept Exception:\n    pass"),
        (
            rules.check_handlers,
            CLI,
            "try:\n    a()\nexcept (OSError, BaseException) as e:\n    b()",
        ),
        (rules.check_sleep, CLI, "import time\ntime.sleep(1)"),
        (rules.check_sleep, CORE, "from time import sleep"),
        (rules.check_asyncio, SHELL, "def f():\n    import asyncio"),
        (rules.check_number_names, CLI, "TIMEOUT = 5"),
        (rules.check_number_names, CLI, "_TIMEOUT: float = 5.0"),
        (rules.check_number_names, CLI, "WAIT_MAX = 0.5"),
        (rules.check_number_names, CLI, "SIZE = 64 << 20"),
        (
            rules.check_settings_names,
            "common/flow/settings/sections.py",
            "class A:\n    lease: Seconds = 1",
        ),
        (
            rules.check_settings_names,
            "common/flow/settings/sections.py",
            "class A:\n    size: int = 1",
        ),
        (rules.check_docstrings, CLI, "a = 1"),
        (rules.check_docstrings, CLI, '"""Doc."""\ndef f(): ...'),
        (rules.check_docstrings, CLI, '"""Doc."""\nclass A(B): ...'),
        (rules.check_docstrings, CLI, '"""Doc."""\nclass A:\n    "a"\n    def f(self): ...'),
    ],
)
def test_rule_finds_what_it_forbids(rule: Rule, path: str, text: str) -> None:
    assert list(rule(parse(path, text)))


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (rules.check_import_table, "common/flow/wire/transport.py", "import zmq"),
        (rules.check_core_purity, CORE, "from random import Random\nimport heapq, math"),
        (rules.check_core_purity, SHELL, "import time"),
        (rules.check_worker_rooms, PROCESS, "from flow_worker.guard import kill"),
        (
            rules.check_worker_rooms,
            "worker/flow_worker/guard/supervisor.py",
            "from flow_worker.core.config import QUIET_S",
        ),
        (rules.check_handlers, CLI, "try:\n    a()\nexcept BaseException:\n    b()\n    raise"),
        (
            rules.check_handlers,
            "common/flow/events.py",
            "try:\n    a()\nexcept Exception:\n    b()",
        ),
        (rules.check_sleep, SHELL, "import time\ntime.sleep(1)"),
        (rules.check_number_names, CLI, "WAIT_S = 0.5\nSIZE_BYTES_MAX = 1 << 20\nTRIES = 3"),
        (rules.check_number_names, CLI, "VERBOSE = True\nNAME = 'x'\ntotal = 5"),
        (
            rules.check_settings_names,
            "common/flow/settings/sections.py",
            "class A:\n    lease_s: Seconds = 1",
        ),
        (rules.check_docstrings, CLI, '"""Doc."""\nclass A(B):\n    "a"\n    def f(self): ...'),
    ],
)
def test_rule_allows_what_it_should(rule: Rule, path: str, text: str) -> None:
    assert list(rule(parse(path, text))) == []
