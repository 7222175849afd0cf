"""The one task that runs several: built by the ``batch_method`` of their parameters."""

from __future__ import annotations

from collections.abc import Iterator

from flow.parameters.packing import unpack_values
from flow.seam import dialect_of
from flow.task import Task
from flow_worker.process.failure import Complaint


def joined(cls: type[Task], members: list[bytes]) -> Task:
    """Build the task that runs these as one; ``members`` are their packed parameters, in order.

    Each batched parameter is read from the list of its strings, the others are as they are.

    Raises:
        Complaint: The class here does not join what its members differ in.
        Exception: Whatever parsing and ``batch_method`` raise.
    """
    named = [unpack_values(member) for member in members]
    batched = set(cls.batch_param_names())
    first = named[0]
    for one in named:
        if one.keys() != first.keys():
            raise Complaint(f"{cls.__name__}: tasks of one batch have different parameters")
        for name, text in one.items():
            if name not in batched and text != first[name]:
                raise Complaint(
                    f"{cls.__name__}.{name} has no batch_method in the code here, but was planned"
                    f" with one: {first[name]!r:.100} and {text!r:.100} cannot be joined"
                )
    joint = {name: [one[name] for one in named] if name in batched else first[name]
             for name in first}  # fmt: skip
    task: Task = dialect_of(cls).make(cls, joint)
    return task


def members_of(cls: type[Task], members: list[bytes]) -> Iterator[Task]:
    """Build the tasks that one joined task runs, each when it is asked for."""
    for member in members:
        yield dialect_of(cls).make(cls, unpack_values(member))
