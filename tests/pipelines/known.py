"""The pipelines, and the reasons why flow may differ from their own schedulers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.pipelines.suites import Suite

#: Why something differs: what the README says of it, word by word.
REASONS = {
    "failure": "a failure's exit code 0 only where `[retcode]` says so",
    "external": "missing external data's 20",
    "exceptions": "a failure is a `TaskFailure` with its type's name and text there",
    "objects": "any other object is refused at planning",
    "state": "what `run()` leaves on `self` is gone",
    "workers": "what a library's own worker does around a task (b2luigi's makes directories)",
    "generators": "generators continue where they stopped",
}


@dataclass(frozen=True)
class Pipeline:
    """One public pipeline, and how it is run."""

    name: str
    #: whose source distribution has it
    package: str
    #: patterns of its files in there
    files: tuple[str, ...]
    #: the driver's text: imports the pipeline
    driver: str
    #: the task and its parameters, as on a command line
    words: tuple[str, ...]
    #: words for Python that run the driver's task by its own scheduler; empty: luigi's command
    own: tuple[str, ...] = ()
    #: options of luigi's command alone
    own_words: tuple[str, ...] = ()
    #: texts to replace in its files; ``{out}`` is the directory it works in
    edits: Mapping[str, str] = field(default_factory=dict)
    #: files that are there before
    inputs: Mapping[str, str] = field(default_factory=dict)
    #: pattern of names of files whose contents hold times
    timed: str = "^$"
    #: kind of difference to the key of its reason
    known: Mapping[str, str] = field(default_factory=dict)


#: Examples write to fixed places, and stand for work by sleeping.
LUIGI_EDITS = {"/var/tmp/": "{out}/", "/tmp/": "{out}/", "time.sleep(": "time.sleep(0.01 * "}


def luigi_example(module: str, *words: str, **more: object) -> Pipeline:
    """Return one of luigi's own examples."""
    return Pipeline(
        f"luigi {module}",
        "luigi",
        (rf"examples/{module}\.py",),
        f"from {module} import *\n",
        words,
        edits=LUIGI_EDITS,
        **more,  # type: ignore[arg-type]
    )


NOTEBOOK = """
import json, pathlib, gokart, luigi

notebook = pathlib.Path(__file__).with_name("gokart_notebook_example.ipynb").read_text()
for cell in json.loads(notebook)["cells"]:
    lines = [line for line in cell["source"] if not line.startswith(("!", "output =", "print("))]
    # One cell has classes that a later one defines again, which gokart calls ambiguous.
    if cell["cell_type"] == "code" and "task_c=" not in "".join(lines):
        exec("".join(lines), globals())

class Both(luigi.WrapperTask):
    def requires(self):
        b = ExampleTaskB(param="example", task_1=ExampleTaskC(), task_2=ExampleTaskD())
        return [ExampleTaskA(param="example"), b]
"""
GOKART_BUILD = """
import gokart, watched
gokart.build(watched.Both(), return_value=False, reset_register=False)
"""

B2LUIGI = """
import b2luigi, os
from Ex04_basics_b2luigi_averagetask import *

b2luigi.set_setting("result_dir", os.path.abspath("results"))
"""
#: What b2luigi's worker does before each task.
B2LUIGI_DIRECTORIES = """
from b2luigi.core.utils import create_output_dirs

b2luigi.Task.event_handler(b2luigi.Event.START)(create_output_dirs)
"""
B2LUIGI_PROCESS = "import b2luigi, watched; b2luigi.process(watched.MyAverageTask(max_value=5))"

BIOLUIGI = """
import os, luigi

luigi.configuration.get_config().set("bioluigi", "fastqc_bin", os.path.abspath("fastqc"))
from bioluigi.tasks.fastqc import *
"""
#: Stands in for the program: fastqc --outdir DIRECTORY READS
FASTQC = """#!/bin/sh
wc "$3" > "$2/$(basename "$3" .fastq)_fastqc.html"
"""

PIPELINES = [
    luigi_example("foo", "examples.Foo"),
    luigi_example("hello_world", "examples.HelloWorldTask"),
    luigi_example("dynamic_requirements", "Dynamic", "--seed", "3", known={"runs": "generators"}),
    luigi_example(
        "per_task_retry_policy",
        "examples.PerTaskRetryPolicy",
        own_words=("--worker-keep-alive", "--worker-wait-interval", "0.1"),
        known={"exit code": "failure"},
    ),
    luigi_example(
        "wordcount",
        "WordCount",
        *("--date-interval", "2026-W07"),
        inputs={f"text/2026-02-{day:02}.txt": f"some {day} words some\n" for day in range(9, 16)},
    ),
    luigi_example("top_artists", "Top10Artists", "--date-interval", "2012-06"),
    luigi_example(
        "execution_summary_example", "examples.EntryPoint", known={"exit code": "external"}
    ),
    Pipeline(
        "gokart notebook example",
        "gokart",
        (r"examples/gokart_notebook_example\.ipynb",),
        NOTEBOOK,
        ("Both",),
        own=("-c", GOKART_BUILD),
        timed="/log/",
    ),
    Pipeline(
        "b2luigi tutorial 4",
        "b2luigi",
        (r"examples/tutorial/Ex04_.*\.py",),
        B2LUIGI + B2LUIGI_DIRECTORIES,
        ("MyAverageTask", "--max-value", "5"),
        own=("-c", B2LUIGI_PROCESS),
    ),
    Pipeline(
        "b2luigi tutorial 4, as it is",
        "b2luigi",
        (r"examples/tutorial/Ex04_.*\.py",),
        B2LUIGI,
        ("MyAverageTask", "--max-value", "5"),
        own=("-c", B2LUIGI_PROCESS),
        known=dict.fromkeys(("exit code", "files", "done", "runs"), "workers"),
    ),
    Pipeline(
        "law quickstart",
        "law",
        (r"law/templates/quickstart/my_package/tasks\.py",),
        "import os\n\nos.environ['QS_DATA'] = os.getcwd()\nfrom tasks import *\n",
        ("MyTask",),
        own=("-m", "law", "run", "watched.MyTask", "--local-scheduler"),
    ),
    Pipeline(
        "bioluigi fastqc",
        "bioluigi",
        (),
        BIOLUIGI,
        ("fastqc.GenerateReport", "--input-file", "reads.fastq", "--output-dir", "report"),
        inputs={"reads.fastq": "@read\nACGT\n", "fastqc": FASTQC},
    ),
    Pipeline(
        "sciluigi tests",
        "sciluigi",
        (r"test/test_dependencies\.py",),
        "from test_dependencies import *\n",
        ("MultiInOutWf",),
        edits=LUIGI_EDITS,
        known=dict.fromkeys(("exit code", "files", "done", "runs"), "objects"),
    ),
    Pipeline(
        "d6tflow tests",
        "d6tflow",
        (r"tests/test_workflow\.py",),
        "import d6tflow\n\nd6tflow.set_dir('data/')\nfrom test_workflow import *\n",
        ("TaskTrain",),
    ),
]

SUITES = [
    Suite(
        "gokart's tests",
        "gokart",
        "test",
        (
            *("test_build.py", "test_cache_unique_id.py", "test_info.py", "test_run.py"),
            *("test_pandas_type_check_framework.py", "test_restore_task_by_id.py"),
            "tree/test_task_info.py",
        ),
        known={
            "test.test_build.RunTest.test_build_with_child_task_error": "exceptions",
            "test.test_build.TestBuildHasLockedTaskException."
            "test_build_expo_backoff_when_luigi_failed_due_to_locked_task": "state",
        },
    ),
]

#: What is not run, and why not.
LEFT_OUT = {
    "luigi foo_complex": "requires() throws dice each time it is asked: no two runs have one graph",
    "data-validation-framework": "its tasks are in its tests, which name directories by the second",
    "other examples of luigi and b2luigi": "they need Hadoop, Spark, a database, Belle II or SSH",
}
