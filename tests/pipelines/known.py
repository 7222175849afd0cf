"""The pipelines, and the reasons why flow may differ from their own schedulers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: Why something differs: what the README says of it, word by word.
REASONS = {
    "failure": "a failure's exit code 0 only where `[retcode]` says so",
    "external": "`build()` is false (exit code 20) when external data is missing",
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
    #: a program that runs the driver's task by its own scheduler; empty: luigi's command
    own: str = ""
    #: options of luigi's command alone
    own_words: tuple[str, ...] = ()
    #: texts to replace in its files; ``{out}`` is the directory it works in
    edits: Mapping[str, str] = field(default_factory=dict)
    #: files that are there before
    inputs: Mapping[str, str] = field(default_factory=dict)
    #: patterns of names of files that are no outputs
    ignored: tuple[str, ...] = ()
    #: patterns of what in files differs from run to run
    varying: tuple[bytes, ...] = ()
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
]

#: What is not run, and why.
LEFT_OUT = {
    "luigi foo_complex": "requires() throws dice each time it is asked: no two runs have one graph",
}
