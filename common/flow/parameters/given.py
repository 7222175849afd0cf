"""What the command line of a run gives to tasks of any family, while this process works for it.

``--Family-param value`` is a default of ``param`` for every task of ``Family`` that is made for the
run. A task process is told once, before it imports the run's program, as the packed map that
travels with the run (``SubmitOptions.given``); a program that builds by itself may have several.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from flow.parameters import defaults
from flow.parameters.packing import unpack_values
from flow.seam import NATIVE, others

_packed = b""


def use(packed: bytes) -> None:
    """Have these values hold from here on, and no others. Cost: nothing where they hold already."""
    global _packed
    if packed == _packed:
        return
    defaults.give(unpack_values(packed) if packed else {})
    _packed = packed
    for dialect in (NATIVE, *others()):
        dialect.given_changed()


@contextlib.contextmanager
def using(packed: bytes) -> Iterator[None]:
    """Have these values hold in the block, and those of before after it, whatever it used."""
    before = _packed
    use(packed)
    try:
        yield
    finally:
        use(before)
