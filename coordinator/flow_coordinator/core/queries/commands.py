"""Commands that change something: runs started, cancelled, run again; limits; workers."""

from __future__ import annotations

import msgspec

from flow.errors import ExitCode
from flow.wire.messages import client
from flow.wire.messages.client import Changed
from flow.wire.messages.shared import PROTOCOL, readable_params
from flow.wire.resources import said_amount
from flow.wire.states import RunState
from flow_coordinator.core import intake, outcomes, runs, shipping, twins, workers
from flow_coordinator.core.queries.finding import find_runs, only_task
from flow_coordinator.core.refusal import Refusal
from flow_coordinator.core.state import State
from flow_coordinator.core.values import Peer


def submit(s: State, peer: Peer, message: client.Submit) -> None:
    """Start a run, keep a part of one, or name the run that has its key."""
    if message.protocol[0] != PROTOCOL[0]:
        error = f"the coordinator speaks protocol {PROTOCOL[0]}, this flow {message.protocol[0]}"
        raise Refusal(error, "install the same flow", code=ExitCode.REFUSED)
    if not _is_part(message):
        raise Refusal(f"a run has 1 to {client.ROOTS_MAX:,} root tasks")
    if not _is_readable(message.options.given):
        most = f"{client.GIVEN_BYTES_MAX:,} bytes at most"
        raise Refusal(f"values for other tasks are a map of texts, {most}")
    if message.key not in s.keys:
        _need_code(s, message.options.package)
    if message.key in s.keys or message.total <= len(message.roots):
        runs.submit(s, peer, message)
    else:
        roots = intake.take(s, peer, message)
        if roots is not None:
            runs.submit(s, peer, msgspec.structs.replace(message, roots=roots))


def _is_part(message: client.Submit) -> bool:
    """Tell whether these may be roots of one run."""
    count, total = len(message.roots), message.total or len(message.roots)
    return count > 0 and 0 <= message.at <= total - count and total <= client.ROOTS_MAX


def _need_code(s: State, package: str) -> None:
    if not shipping.has(s, package):
        error = f"the coordinator does not have the code {package[:12]}: it was removed since"
        raise Refusal(error, "flow submit --code-dir DIR ... uploads it")


def _is_readable(given: bytes) -> bool:
    """Tell whether task processes can read what a command line gives; they do not ask again."""
    if len(given) > client.GIVEN_BYTES_MAX:
        return False
    try:
        return not given or bool(readable_params(given))
    except msgspec.MsgspecError:
        return False


def cancel(s: State, peer: Peer, message: client.Cancel) -> None:
    """Cancel a run or a task."""
    found = find_runs(s, message.target)
    if len(found) == 1:
        run = found[0]
        if run.state != RunState.RUNNING:
            raise Refusal(f"{run.id} {run.name} has ended: {run.state.label}")
        count = runs.cancel(s, run, message)
        text = f"{run.id} {run.name}: cancelled {_tasks(count)}"
        s.send(peer, Changed(message.request, text, count))
        return
    task = only_task(s, message.target, found)
    count = int(outcomes.cancel(s, task, message.reason or "cancelled"))
    text = f"{twins.shown(s, task)}: {'cancelled' if count else 'has ended already'}"
    s.send(peer, Changed(message.request, text, count))


def _tasks(count: int) -> str:
    return f"{count} open task{'' if count == 1 else 's'}"


def retry(s: State, peer: Peer, message: client.Retry) -> None:
    """Run a run, or a task, again."""
    found = find_runs(s, message.target)
    if len(found) == 1 and found[0].state == RunState.RUNNING:
        count = runs.retry(s, found[0])
        text = (
            f"{found[0].id} {found[0].name}: {count} task{'' if count == 1 else 's'} to run again"
        )
        s.send(peer, Changed(message.request, text, count))
    elif len(found) == 1:
        _need_code(s, found[0].options.package)
        if len(found[0].root_tasks) < found[0].root_count:
            count, name = found[0].root_count, found[0].id
            error = f"of the {count:,} roots of {name} not all are kept any more"
            raise Refusal(error, "submit it again: what is complete does not run")
        key = f"retry of {found[0].key} {s.nonce()}"
        again = runs.resubmit(s, found[0], key)
        text = f"{found[0].id} has ended; its roots run again as {again.id} {again.name}"
        s.send(peer, Changed(message.request, text, 1))
    else:
        task = only_task(s, message.target, found)
        count = int(runs.retry_task(s, task))
        text = f"{twins.shown(s, task)}: {'runs again' if count else 'has not failed'}"
        s.send(peer, Changed(message.request, text, count))


def set_resource(s: State, peer: Peer, message: client.SetResource) -> None:
    """Set a limit of the cluster, durably."""
    if not message.name or not 0 <= message.limit < float("inf"):
        raise Refusal("a limit is a number from 0", "flow resources set db 5")
    s.resources.limits[message.name] = message.limit
    s.changes.resources[message.name] = message.limit
    s.ready.open_all()
    s.note("resource limit set", resource=message.name, limit=message.limit)
    s.send(peer, Changed(message.request, f"{message.name} = {said_amount(message.limit)}", 1))


def worker_command(s: State, peer: Peer, message: client.WorkerCommand) -> None:
    """Have a worker finish and leave, or take it for dead."""
    piece = message.worker
    known = {uid: known.name for uid, known in s.known.items()}
    known.update({uid: worker.name for uid, worker in s.workers.items()})
    found = [uid for uid, name in known.items() if piece == name or uid.startswith(piece)]
    if len(found) != 1:
        called = [f"{known[uid]} {uid}" for uid in (found or known)]
        error = f"{piece!r} may be any of {len(found)} workers" if found else f"no worker {piece!r}"
        raise Refusal(error, "flow workers", matches=called)
    uid = found[0]
    worker = s.workers.get(uid)
    if message.command == "drain" and worker is not None:
        workers.drain(s, worker)
        s.send(peer, Changed(message.request, f"{worker.name} finishes and leaves", 1))
    elif message.command == "declare-dead":
        count = workers.release_all(s, uid, "an operator declared its worker dead")
        s.note("worker declared dead", "warning", uid=uid, leases=count)
        text = f"{known[uid]} is declared dead: {count} leases released"
        s.send(peer, Changed(message.request, text, count))
    else:
        raise Refusal(f"a worker cannot {message.command!r} now")
