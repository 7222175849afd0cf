"""``flow.build`` and its result against ``luigi.build`` on the same pipelines."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import luigi
import luigi.execution_summary
import pytest

import flow
from flow.errors import UsageError

TIMEOUT_S = 60.0
QUIET = {"quiet": True, "in_process": True}


def good(lib: Any) -> list[Any]:
    class Good(lib.Task):
        ran = False

        def run(self) -> None:
            type(self).ran = True

        def complete(self) -> bool:
            return self.ran

    return [Good()]


def bad(lib: Any) -> list[Any]:
    class Bad(lib.Task):
        def run(self) -> None:
            raise ValueError("bad")

    class NeedsBad(lib.Task):
        def requires(self) -> Any:
            return Bad()

    return [NeedsBad()]


def unplannable(lib: Any) -> list[Any]:
    class Unplannable(lib.Task):
        def complete(self) -> bool:
            raise ValueError("unplannable")

    return [Unplannable()]


def both(lib: Any) -> list[Any]:
    return [*bad(lib), *unplannable(lib)]


def missing(lib: Any) -> list[Any]:
    class Missing(lib.ExternalTask):
        def complete(self) -> bool:
            return False

    class NeedsMissing(lib.Task):
        def requires(self) -> Any:
            return Missing()

    return [NeedsMissing()]


def nothing(lib: Any) -> list[Any]:
    return []


@pytest.mark.parametrize(
    ("pipeline", "status", "succeeds"),
    [
        (good, "SUCCESS", True),
        (bad, "FAILED", False),
        (unplannable, "SCHEDULING_FAILED", False),
        (both, "FAILED_AND_SCHEDULING_FAILED", False),
        (missing, "MISSING_EXT", False),
        (nothing, "SUCCESS", True),
    ],
)
def test_build_status_is_luigis(pipeline: Any, status: str, succeeds: bool) -> None:
    logging.getLogger("luigi").setLevel(logging.CRITICAL)
    theirs = luigi.build(
        pipeline(luigi), local_scheduler=True, detailed_summary=True, log_level="CRITICAL"
    )
    ours = flow.build(pipeline(flow), local_scheduler=True, detailed_summary=True, retry=1, **QUIET)
    assert ours.status.name == theirs.status.name == status
    assert ours.one_line_summary == theirs.one_line_summary
    assert bool(ours) is succeeds
    # Missing data is the one case in which luigi says True and flow does not.
    assert bool(theirs.scheduling_succeeded) is (succeeds or status == "MISSING_EXT")


def failed_and_missing(lib: Any) -> list[Any]:
    class Failing(lib.Task):
        def run(self) -> None:
            raise ValueError("bad")

    class Absent(lib.ExternalTask):
        def complete(self) -> bool:
            return False

    class Middle(lib.Task):
        def requires(self) -> Any:
            return [Failing(), Absent()]

    class Top(lib.Task):
        def requires(self) -> Any:
            return [Middle()]

    return [Top()]


def test_task_with_failed_and_missing_requirements_is_in_both_lines_as_luigis() -> None:
    theirs = luigi.build(
        failed_and_missing(luigi), local_scheduler=True, detailed_summary=True, log_level="CRITICAL"
    )
    ours = flow.build(failed_and_missing(flow), retry=1, **QUIET)
    listed = [
        [line for line in each.summary_text.splitlines() if line.lstrip().startswith(("*", "-"))]
        for each in (theirs, ours)
    ]
    assert sorted(listed[1]) == sorted(listed[0])
    assert "* 3 were left pending, among these:" in listed[1]
    assert "    * 2 had failed dependencies:" in listed[1]
    assert "    * 2 had missing dependencies:" in listed[1]


def test_build_result_stands_for_the_bool_of_luigi() -> None:
    assert flow.build(good(flow), **QUIET) == True  # noqa: E712  as programs for luigi write it
    assert flow.build(bad(flow), retry=1, **QUIET) == False  # noqa: E712
    assert flow.build([]) == True  # noqa: E712
    assert "Did not schedule any tasks" in flow.build([]).summary_text


def test_status_codes_have_luigis_names_and_texts() -> None:
    theirs = {each.name: each.value for each in luigi.LuigiStatusCode}
    ours = {each.name: each.value for each in flow.LuigiStatusCode}
    assert {name: ours[name] for name in theirs} == theirs
    assert set(ours) - set(theirs) == {"CANCELLED"}
    assert flow.StatusCode is flow.LuigiStatusCode


@pytest.mark.parametrize("theirs", luigi.LuigiStatusCode, ids=lambda each: each.name)
def test_status_code_equals_luigis_own_of_that_name_and_no_other(theirs: Any) -> None:
    ours = flow.LuigiStatusCode[theirs.name]
    assert ours == theirs and theirs == ours
    assert {theirs: 1}[ours] == {ours: 1}[theirs] == 1
    assert [each for each in flow.LuigiStatusCode if each == theirs] == [ours]
    assert [each for each in luigi.LuigiStatusCode if each == ours] == [theirs]
    assert ours != theirs.name


def test_status_of_a_failed_build_is_luigis_failed() -> None:
    built = flow.build(bad(flow), detailed_summary=True, **QUIET)
    assert built.status == luigi.LuigiStatusCode.FAILED
    assert built.status in (luigi.LuigiStatusCode.FAILED, luigi.LuigiStatusCode.NOT_RUN)


def test_build_takes_luigis_keywords_and_refuses_typing_errors() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert flow.build(
            good(flow),
            local_scheduler=True,
            no_lock=True,
            log_level="INFO",
            lock_size=1,
            parallel_scheduling=True,
            worker_scheduler_factory=None,
            scheduler_host="localhost",
            **QUIET,
        )
    with pytest.raises(TypeError, match=r"'quite'.*quiet"):
        flow.build(good(flow), quite=True)


def test_build_without_a_local_scheduler_says_it_runs_here() -> None:
    with pytest.warns(UserWarning, match="flow submit"):
        assert flow.build(good(flow), local_scheduler=False, **QUIET)


@pytest.mark.parametrize(
    "keywords", [{"scheduler_url": "http://x"}, {"scheduler_host": "h", "local_scheduler": False}]
)
def test_build_that_names_a_scheduler_elsewhere_is_refused(keywords: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="it runs tasks on this machine") as caught:
        flow.build(good(flow), **keywords, **QUIET)
    assert "flow submit" in str(caught.value.hint)


@pytest.mark.parametrize("workers", [0, -1, 1.5, "2", True])
def test_build_with_no_workers_is_refused(workers: Any) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        flow.build(good(flow), workers=workers, **QUIET)


@pytest.mark.parametrize("library", [flow, luigi], ids=["flow", "luigi"])
@pytest.mark.parametrize("line", ["Task", {"Task": 1}, 3])
def test_run_refuses_a_command_line_that_is_no_list(library: Any, line: Any) -> None:
    with pytest.raises(TypeError, match="cmdline_args"):
        library.run(line)


SCRIPT = textwrap.dedent(
    """
    import sys
    import flow as luigi

    class Said(luigi.Task):
        text = luigi.Parameter()

        def output(self):
            return luigi.LocalTarget(self.text)

        def run(self):
            with self.output().open("w") as out:
                out.write("x")

    if __name__ == "__main__":
        luigi.run(main_task_cls=Said if len(sys.argv) > 1 and sys.argv[1][0] == "-" else None)
    """
)


@pytest.mark.parametrize(
    "words",
    [
        ("Said", "--text", "made", "--local-scheduler", "--no-lock", "--log-level", "INFO"),
        ("--text", "made", "--local-scheduler", "--scheduler-host", "luigid", "--lock-size", "2"),
        ("--module", "said", "Said", "--Said-text", "made", "--workers", "2"),
    ],
)
def test_script_takes_command_lines_written_for_luigi(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "said.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "said.py", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "made").exists()


LOGGING = textwrap.dedent(
    """
    import logging
    import sys
    import flow

    class Logs(flow.Task):
        def run(self):
            for level in ("debug", "info", "error"):
                getattr(logging.getLogger("own"), level)(f"said at {level}")

        def complete(self):
            return False

    if __name__ == "__main__":
        keywords = {sys.argv[1]: sys.argv[2]}
        if len(sys.argv) > 3:
            flow.run(sys.argv[3:], **keywords)
        else:
            flow.build([Logs()], **keywords)
    """
)


def logged(folder: Path, *words: str) -> list[str]:
    (folder / "logs.py").write_text(LOGGING)
    done = subprocess.run(
        [sys.executable, "logs.py", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    said = done.stdout + done.stderr
    assert "said at error" in said
    return [level for level in ("debug", "info") if f"said at {level}" in said]


@pytest.mark.parametrize(
    ("words", "levels"),
    [
        (("log_level", "DEBUG"), ["debug", "info"]),
        (("log_level", "ERROR"), []),
        (("log_level", "DEBUG", "Logs"), ["debug", "info"]),
        (("log_level", "DEBUG", "Logs", "--log-level", "ERROR"), []),
        (("logging_conf_file", "logs.json"), ["debug", "info"]),
    ],
)
def test_log_level_of_build_and_run_holds_for_the_tasks(
    words: tuple[str, ...], levels: list[str], tmp_path: Path
) -> None:
    handler = {"h": {"class": "logging.StreamHandler"}}
    config = {"version": 1, "handlers": handler, "root": {"level": "DEBUG", "handlers": ["h"]}}
    (tmp_path / "logs.json").write_text(json.dumps(config))
    assert logged(tmp_path, *words) == levels


def test_log_level_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match=r"log_level='LOUD'.*must be one of"):
        flow.build(good(flow), log_level="LOUD", **QUIET)
