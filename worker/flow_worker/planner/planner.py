"""The planner's part of a task process: what is complete, what requires what.

A request is walked breadth-first and answered in chunks. It stands still until the coordinator
wants more while another request goes on, and Stop simply drops it.
"""

from __future__ import annotations

from collections.abc import Callable

from flow.modules import places
from flow.seam import NATIVE, others
from flow_worker.channel import Chunk, Expand, Frame, More, Remove, Stop
from flow_worker.planner.overheard import Overheard
from flow_worker.planner.removal import remove
from flow_worker.planner.walk import RequirementWalk
from flow_worker.process.attempt import Passing
from flow_worker.process.failure import Terminated
from flow_worker.process.instances import Instances
from flow_worker.process.streams import Output


class Planner:
    """Answers ``Expand``. What user code prints meanwhile is in ``output``.

    ``imported`` is what the import of the program printed, before this process was forked;
    ``instances`` are the tasks of the program around, where there is one; ``passing`` are the
    exceptions of a task that end more than the look at it.
    """

    def __init__(
        self,
        send: Callable[[Frame], None],
        output: Output,
        instances: Instances | None = None,
        passing: Passing = (Terminated,),
        imported: str = "",
    ) -> None:
        self._send = send
        self._passing = passing
        self._output = output
        self._imported = imported
        self._lines: dict[str, None] = {}
        self._instances = instances
        self._requests: dict[int, _Request] = {}

    @property
    def busy(self) -> bool:
        """Whether some request may go on without hearing from the agent."""
        return any(request.may_send for request in self._requests.values())

    def on_expand(self, frame: Expand) -> None:
        """Begin a request; the same one again changes nothing."""
        if frame.request not in self._requests:
            # In forks of a program they are the program's, as it has made them.
            kept = self._instances is not None or places.inherits
            if not self._requests and not kept:
                for dialect in (NATIVE, *others()):
                    dialect.planning()
            heard = Overheard(self._output, self._lines, self._imported)
            walk = RequirementWalk(
                frame.stubs, frame.expand_max, self._instances, self._passing, heard
            )
            self._requests[frame.request] = _Request(frame, walk)

    def on_more(self, frame: More) -> None:
        """Allow one chunk beyond the one that was asked for."""
        request = self._requests.get(frame.request)
        if request is not None:
            request.allowed = max(request.allowed, frame.chunk + 1)

    def on_stop(self, frame: Stop) -> None:
        """Forget a request."""
        self._requests.pop(frame.request, None)

    def on_remove(self, frame: Remove) -> None:
        """Remove temporary artifacts, at once: no request is open meanwhile."""
        removed = remove(frame, RequirementWalk([], 0, self._instances, self._passing).build)
        self._output.take()  # nobody asked for it
        self._send(removed)

    def step(self) -> None:
        """Send one chunk of the first request that may go on."""
        request = next(r for r in self._requests.values() if r.may_send)
        body, last = request.next_chunk()
        number = request.number
        request.number += 1
        if last:
            del self._requests[request.request]
        else:
            # The next one in turn is another request, if there is one.
            self._requests[request.request] = self._requests.pop(request.request)
        self._send(Chunk(request.request, number, last, body))


class _Request:
    """One request being answered."""

    def __init__(self, frame: Expand, walk: RequirementWalk) -> None:
        self.request = frame.request
        #: The chunk that comes next, and the last one that may be sent by now.
        self.number = 0
        self.allowed = 1
        self._chunks = walk.places() if frame.where else walk.chunks()
        self._ahead: bytes | None = None

    @property
    def may_send(self) -> bool:
        return self.number <= self.allowed

    def next_chunk(self) -> tuple[bytes, bool]:
        """Return the next chunk and whether it is the last: so one is made ahead."""
        chunk = self._ahead if self._ahead is not None else next(self._chunks)
        self._ahead = next(self._chunks, None)
        return chunk, self._ahead is None
