"""A pytest plugin: ``luigi.build`` is flow's; copied beside tests that were not written here.

``FLOW_BUILD`` says how it runs: ``forks`` or ``in_process``. It is read once, since those tests
clear the environment.
"""

import os

import luigi

import flow

IN_PROCESS = os.environ["FLOW_BUILD"] == "in_process"


class Result:
    """How it ended, with luigi's status."""

    def __init__(self, result):
        self.status = luigi.LuigiStatusCode[result.status.name]
        self.summary_text = result.summary_text
        self.one_line_summary = result.one_line_summary
        self.scheduling_succeeded = result.scheduling_succeeded


def build(tasks, *, worker_scheduler_factory=None, detailed_summary=False, **keywords):
    """Do what ``luigi.build`` does, by flow; the factory would make Luigi's workers."""
    if IN_PROCESS:
        keywords.pop("workers", None)
    result = flow.build(tasks, in_process=IN_PROCESS, summary="none", **keywords)
    return Result(result) if detailed_summary else bool(result)


luigi.build = build
