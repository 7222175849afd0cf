"""Workers: joining, heartbeats, silence, and what becomes of their leases.

Rules C2, C5, C6 and C7. Silence is judged only when everything that had arrived was read.
"""

from __future__ import annotations

from flow.wire.ids import WorkerUid
from flow.wire.messages.shared import PROTOCOL, Verdict
from flow.wire.messages.worker import (
    Challenge,
    Denied,
    Drain,
    Drained,
    Extend,
    Extended,
    Heartbeat,
    HeartbeatAck,
    Hello,
    Join,
    Rack,
    Rejoin,
    Results,
    Started,
    Welcome,
)
from flow.wire.states import TaskState
from flow_coordinator.core import (
    cleaning,
    dispatch,
    graph,
    leases,
    locating,
    outcomes,
    planning,
    programs,
    tally,
)
from flow_coordinator.core.records import LeaseRecord, WorkerRecord
from flow_coordinator.core.state import Known, State
from flow_coordinator.core.timers import Timer
from flow_coordinator.core.transitions import TaskEvent
from flow_coordinator.core.values import Peer

#: Nonces remembered, and so workers that may be joining at the same time.
NONCES_MAX = 10_000
#: Committed tokens remembered per worker, to answer a repeated report as the first time.
RECENT_MAX = 4_096


def hello(s: State, peer: Peer, message: Hello) -> None:
    """Answer with a nonce; changes nothing else (rule C6)."""
    if message.protocol[0] != PROTOCOL[0]:
        ours, theirs = PROTOCOL[0], message.protocol[0]
        reason = f"the coordinator speaks protocol {ours}, this worker {theirs}: install the same"
        s.note("worker refused", "warning", uid=message.uid, reason=reason)
        s.send_now(peer, Denied(f"{reason} flow version on both"))
        return
    s.nonces.pop(message.uid, None)
    while len(s.nonces) >= NONCES_MAX:
        del s.nonces[next(iter(s.nonces))]
    nonce = s.nonces[message.uid] = s.nonce()
    s.send_now(peer, Challenge(s.epoch, s.lineage, nonce))


def join(s: State, peer: Peer, message: Join) -> None:
    """Certify what a worker holds: adopt that, release the rest (rules C2, C6)."""
    uid = message.uid
    if s.nonces.get(uid) != message.nonce:
        s.note("join with an old nonce ignored", "debug", uid=uid)
        return
    del s.nonces[uid]
    worker = WorkerRecord(message, peer, s.new_session(), s.now)
    old = s.workers.get(uid)
    if old is not None:
        _park_worker(s, old)
        worker.recent, worker.recent_before = old.recent, old.recent_before
    claimed = {*message.held, *message.reporting}
    for token, lease in list(s.orphans.get(uid, {}).items()):
        if token not in claimed:
            # its worker lives and would list whatever it had started
            release(s, lease, "its worker joined again without it", lease.confirmed)
    s.workers[uid] = worker
    s.by_peer[peer] = worker
    s.known.pop(uid, None)
    s.changes.workers_gone.pop(uid, None)
    s.changes.workers[uid] = worker
    for name in s.resources.declare(list(worker.capacity)):
        s.changes.meta[f"worker_resource:{name}"] = "1"
    leases.adopt(s, uid, worker)
    for dead in _certified_dead(s, worker, message):
        release_all(s, dead, "its worker's processes are dead")
    kill = [token for token in message.held if token not in worker.held]
    for lease in list(worker.held.values()):
        lease.confirmed = True
        task = lease.task
        if lease.doomed:
            kill.append(lease.token)
        if task.state == TaskState.SUSPENDED and task.waits == 0:
            graph.resume_later(s, task)
        elif lease.resumed:
            lease.confirmed = False
        elif task.state == TaskState.LEASED:
            tally.move(s, task, TaskEvent.START)
        for member in lease.members:
            tally.move(s, member, TaskEvent.START)
    s.send(peer, Welcome(message.nonce, worker.session, s.config.timing, kill))
    if s.stopping:
        _extend(s, worker)
    s.timer(s.now + s.config.timing.suspect_s, Timer.SILENCE, worker)
    s.ready.open_all()
    locating.joined(s, worker)
    s.note("worker joined", worker=worker.name, host=worker.host, slots=worker.slots, uid=uid)


def _park_worker(s: State, worker: WorkerRecord) -> None:
    """A uid joins again: keep its leases as orphans until its JOIN is applied."""
    leave(s, worker)
    if worker.held:
        s.orphans[worker.uid] = dict(worker.held)


def leave(s: State, worker: WorkerRecord) -> None:
    """Forget a worker's session, not its leases."""
    s.workers.pop(worker.uid, None)
    if s.by_peer.get(worker.peer) is worker:
        del s.by_peer[worker.peer]
    for plan in list(worker.plans.values()):
        planning.lose(s, plan)
    cleaning.lose(s, worker.uid)
    # what only this worker could take is unmet now; what it was reserved for needs another
    s.ready.open_all()


def _certified_dead(s: State, worker: WorkerRecord, message: Join) -> list[WorkerUid]:
    """Uids whose processes are certainly gone: predecessors, and the host before its reboot."""
    dead = [uid for uid in message.predecessors if uid != worker.uid]
    seen: list[tuple[WorkerUid, Known | WorkerRecord]] = [*s.known.items(), *s.workers.items()]
    for uid, known in seen:
        rebooted = known.host_key == worker.host_key and known.boot_id != worker.boot_id
        if rebooted and worker.host_key and uid != worker.uid and uid not in dead:
            dead.append(uid)
    return dead


def release_all(s: State, uid: WorkerUid, why: str) -> int:
    """End every lease of a worker that is gone; forget it."""
    worker = s.workers.get(uid)
    if worker is not None:
        leave(s, worker)
        s.orphans[uid] = dict(worker.held)
    held = list(s.orphans.get(uid, {}).values())
    for lease in held:
        release(s, lease, why, True)
    programs.gone(s, uid)
    s.orphans.pop(uid, None)
    s.orphans_until.pop(uid, None)
    s.known.pop(uid, None)
    s.changes.workers.pop(uid, None)
    s.changes.workers_gone[uid] = None
    if held:
        s.note("leases released", uid=uid, leases=len(held), why=why)
    return len(held)


def release(s: State, lease: LeaseRecord, why: str, started: bool) -> None:
    """End one lease whose attempt is gone without a report (uncounted).

    ``started``: it may have begun to run (matters where ``on_lost = "hold"``).
    """
    name = s.workers[lease.uid].name if lease.uid in s.workers else lease.uid[:8]
    outcomes.release(s, lease, name, started, why)


def current(s: State, peer: Peer, session: str) -> WorkerRecord | None:
    """Find the worker that speaks in a session; anything else is told to join again (rule C7)."""
    worker = s.by_peer.get(peer)
    if worker is not None and worker.session == session:
        return worker
    for other in s.workers.values():
        if other.session == session:
            # the connection was lost and made again: same session, another name of the peer
            s.by_peer.pop(other.peer, None)
            other.peer = peer
            s.by_peer[peer] = other
            return other
    s.send_now(peer, Rejoin(session))
    return None


def heartbeat(s: State, worker: WorkerRecord, message: Heartbeat) -> None:
    """Renew every lease of a worker; an old heartbeat renews nothing."""
    if message.number <= worker.heartbeat:
        return
    worker.heartbeat = message.number
    worker.heard_at = s.now
    if worker.draining and not message.draining:
        s.send_now(worker.peer, Drain(worker.session))
    if worker.suspect or worker.fit != message.fit:
        worker.suspect = False
        worker.fit = message.fit
        s.ready.open_parked(leases.WORKER_ROOM)
    worker.draining = worker.draining or message.draining
    worker.cpu = message.cpu
    worker.memory_bytes = message.memory_bytes
    over = programs.heard(s, worker, message)
    s.send_now(worker.peer, HeartbeatAck(worker.session, message.number, over))
    if s.stopping and not worker.extended:
        _extend(s, worker)
    if worker.held:
        dispatch.repeat(s, worker)


def silence(s: State, worker: WorkerRecord) -> None:
    """A worker's timer fired: suspect it, or end its leases."""
    uid = worker.uid
    if s.workers.get(uid) is not worker:
        return
    timing = s.config.timing
    silent_s = s.now - worker.heard_at
    term_s = timing.term_s if worker.heartbeat else s.unknowing_term_s
    if silent_s >= term_s:
        s.note("worker lost", "warning", worker=worker.name, uid=uid, silent_s=round(silent_s, 1))
        release_all(s, uid, f"its worker was silent for {silent_s:.0f} s")
        return
    if silent_s >= timing.suspect_s:
        worker.suspect = True
        # what others left to it because it has imported the program may be theirs now
        s.ready.open_parked(leases.WORKER_ROOM)
        s.timer(worker.heard_at + term_s, Timer.SILENCE, worker)
    else:
        s.timer(worker.heard_at + timing.suspect_s, Timer.SILENCE, worker)


def forget_terms(s: State) -> None:
    """Let go of longer terms than the configured one, once nobody can count on them.

    What EXTEND promised ends with JOIN. The term configured before ends with a heartbeat, which
    proves that WELCOME, which says the new one, has arrived. Cost: O(workers), at starts only.
    """
    if s.orphans:
        return
    mine_s = s.config.timing.term_s
    if s.term_kept:
        s.term_kept = False
        s.changes.meta["term_s"] = repr(mine_s)
    if s.unknowing_term_s > mine_s and all(one.heartbeat for one in s.workers.values()):
        s.unknowing_term_s = mine_s
        s.changes.meta["plain_term_s"] = repr(mine_s)


def orphans_expired(s: State, uid: WorkerUid) -> None:
    """Leases stored before a restart, whose worker has not come back in time (rule C5)."""
    until = s.orphans_until.get(uid)
    if until is not None and s.now >= until:
        release_all(s, uid, "its worker did not come back after the coordinator's restart")


def started(s: State, worker: WorkerRecord, message: Started) -> None:
    """Note that grants arrived (soft, memory only)."""
    held = worker.held
    for token in message.tokens:
        lease = held.get(token)
        if lease is not None and not lease.confirmed and not lease.resumed:
            leases.confirm(s, lease)
    for token, number in message.resumed:
        lease = held.get(token)
        if lease is not None and lease.resumed == number:
            lease.confirmed = True


def results(s: State, worker: WorkerRecord, message: Results) -> None:
    """Apply reports; acknowledge each, current or stale, once that is durable (C3, C4)."""
    verdicts: list[tuple[str, Verdict]] = []
    held = worker.held
    recent = worker.recent
    for report in message.reports:
        token = report.token
        lease = held.get(token)
        if lease is not None:
            known = locating.holds(s, worker, lease, report) if report.missing else report
            if known is None:
                continue
            outcomes.report(s, worker, lease, known)
            recent[token] = None
            verdicts.append((token, Verdict.COMMITTED))
        elif token in recent or token in worker.recent_before:
            verdicts.append((token, Verdict.COMMITTED))
        else:
            s.note("stale result refused", "debug", token=token, worker=worker.name)
            verdicts.append((token, Verdict.STALE))
    if len(recent) > RECENT_MAX:
        worker.recent_before, worker.recent = recent, {}
    if verdicts:
        s.send(worker.peer, Rack(worker.session, verdicts))


def drained(s: State, worker: WorkerRecord, message: Drained) -> None:
    """A worker ended and certifies that nothing of it runs."""
    s.note("worker left", worker=worker.name, uid=worker.uid)
    release_all(s, worker.uid, "its worker ended")


def drain(s: State, worker: WorkerRecord) -> None:
    """Ask a worker to finish and leave."""
    worker.draining = True
    s.send(worker.peer, Drain(worker.session))


def stop(s: State) -> None:
    """The coordinator ends on purpose: give the workers time to wait for the next one."""
    s.stopping = True
    timing = s.config.timing
    term_s = _extended_s(s) * (1 + timing.rate_error) + timing.margin_s
    s.changes.meta["term_s"] = repr(term_s)
    for worker in s.workers.values():
        _extend(s, worker)


def _extended_s(s: State) -> float:
    return max(s.config.extend_s, s.config.timing.lease_s)


def _extend(s: State, worker: WorkerRecord) -> None:
    # after the commit: the promise must outlive this process
    s.send(worker.peer, Extend(worker.session, _extended_s(s)))


def extended(s: State, worker: WorkerRecord, message: Extended) -> None:
    """A worker knows that the coordinator ends on purpose."""
    worker.extended = True


def remember(s: State, uid: WorkerUid, name: str, host_key: str, boot_id: str) -> None:
    """Know a worker of an earlier start of this coordinator."""
    if not s.known:
        # until then what others cannot do, or have other code for, is kept for it
        s.timer(s.now + s.config.timing.term_s, Timer.ROOM, None)
    s.known[uid] = Known(host_key, boot_id, name)
