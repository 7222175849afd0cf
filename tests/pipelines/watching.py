"""Writes down what happens to luigi's tasks; copied beside a pipeline, whose driver imports it."""

import json
import os
import random
import sys

import luigi


def begin(ledger, directory):
    """Work in ``directory`` from now on, and append each event to the file ``ledger``."""
    os.chdir(directory)

    def note(*words):
        line = json.dumps(words) + "\n"
        out = os.open(ledger, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(out, line.encode())
        os.close(out)

    @luigi.Task.event_handler(luigi.Event.DEPENDENCY_DISCOVERED)
    def discovered(task, required):
        note("requires", task.task_id, required.task_id)

    @luigi.Task.event_handler(luigi.Event.START)
    def started(task):
        note("start", task.task_id)
        # What is random is the same whoever runs it.
        random.seed(task.task_id)
        if "numpy" in sys.modules:
            sys.modules["numpy"].random.seed(len(task.task_id))

    @luigi.Task.event_handler(luigi.Event.SUCCESS)
    def succeeded(task):
        note("success", task.task_id)

    @luigi.Task.event_handler(luigi.Event.FAILURE)
    def failed(task, error):
        note("failure", task.task_id)
