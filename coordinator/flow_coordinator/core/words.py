"""What running attempts say: status, progress, tracking URL, and what they give back.

Words count only with the token of the task's current lease, from the worker that holds it. They
are whole and numbered, so a copy or an older one changes nothing. What a task has given back is
stored in the commit that lets others take it, so a restarted coordinator counts it, too.
"""

from __future__ import annotations

import math

import msgspec

from flow.wire.ids import Token
from flow.wire.messages.client import WhyAnswer
from flow.wire.messages.speech import (
    DECREASED_NAMES_MAX,
    STATISTIC_CHARACTERS_MAX,
    STATISTICS_MAX,
    STATUS_CHARACTERS_MAX,
    URL_CHARACTERS_MAX,
    Words,
)
from flow.wire.messages.worker import Heard, Said
from flow.wire.resources import said_amount
from flow_coordinator.core import leases, letters
from flow_coordinator.core.records import LeaseRecord, RunRecord, TaskRecord, WorkerRecord
from flow_coordinator.core.state import State

#: Tasks of an ended run whose last words are kept for display.
LAST_WORDS_MAX = 200


def said(s: State, worker: WorkerRecord, message: Said) -> None:
    """Take what attempts said; HEARD goes out once it is durable."""
    heard: list[tuple[Token, int]] = []
    for words in message.words:
        heard.append((words.token, words.number))
        lease = worker.held.get(words.token)
        if lease is not None and words.number > 0:
            _hear(s, lease, words)
    replies = [(token, letter) for token, letter, _ in message.replies]
    for token, letter, text in message.replies:
        letters.replied(s, token, letter, text)
    s.send(worker.peer, Heard(worker.session, heard, replies))


def _hear(s: State, lease: LeaseRecord, words: Words) -> None:
    """Take words of an attempt: they are those of every task that it runs."""
    old = lease.task.extra.words if lease.task.extra is not None else None
    if old is not None and old.token == words.token and words.number <= old.number:
        return
    before = leases.held_demand(lease)
    words = _bounded(words)
    for task in (lease.task, *lease.members):
        task.more().words = words
        s.changes.progress[task] = None
        for run in task.runs:
            keep(run, task, words)
    leases.give_part(s, lease, before)


def _bounded(words: Words) -> Words:
    """Cut what a worker of another make may have sent too long."""
    statistics = list(words.statistics.items())[:STATISTICS_MAX]
    decreased = list(words.decreased.items())[:DECREASED_NAMES_MAX]
    most = STATISTIC_CHARACTERS_MAX
    return Words(
        words.token,
        words.number,
        words.status[:STATUS_CHARACTERS_MAX],
        words.progress if 0 <= words.progress <= 100 else -1.0,
        words.tracking_url[:URL_CHARACTERS_MAX],
        {name: amount for name, amount in decreased if 0 <= amount < math.inf},
        {name[:most]: text[:most] for name, text in statistics},
    )


def of(task: TaskRecord) -> Words | None:
    """Tell the words of a task: of its current attempt, or where there is none of its last."""
    words = task.extra.words if task.extra is not None else None
    if words is not None and task.lease is not None and task.lease.token != words.token:
        return None
    return words


def lines(words: Words) -> list[tuple[str, str]]:
    """Spell words for people, with labels."""
    told = []
    if words.progress >= 0:
        told.append(("progress", f"{words.progress:.4g} %"))
    if words.status:
        told.append(("status", words.status))
    if words.tracking_url:
        told.append(("tracking url", words.tracking_url))
    if words.decreased:
        given = [f"{name} {said_amount(amount)}" for name, amount in words.decreased.items()]
        told.append(("given back", ", ".join(given)))
    told += [(f"statistic {name}", text) for name, text in words.statistics.items()]
    return told


def briefly(words: Words) -> str:
    """Spell status and progress in one line."""
    progress = f"{words.progress:.4g} %" if words.progress >= 0 else ""
    return " ".join(part for part in (progress, words.status.partition("\n")[0]) if part)


def told(answer: WhyAnswer, words: Words) -> WhyAnswer:
    """Add words to an answer about their task, for programs."""
    return msgspec.structs.replace(
        answer,
        status=words.status,
        progress=words.progress,
        tracking_url=words.tracking_url,
        statistics=words.statistics,
    )


def keep(run: RunRecord, task: TaskRecord, words: Words) -> None:
    """Keep the words of some tasks with their run, which is remembered longer than they are."""
    name = task.name
    if name in run.words or len(run.words) < LAST_WORDS_MAX:
        run.words[name] = words
