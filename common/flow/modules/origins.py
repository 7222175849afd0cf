"""Origins: which code a task is, where its id does not tell.

An id has the family and the parameters as text; two modules may have the same family, and a
parameter that holds a task class has only its family as text. So a task is (origin, id). The origin
is the module that the class is found in (``flow.modules.loading.home_of``), and for a task whose
parameters hold classes or tasks of other modules those too, in their order: ``loops//sales.tasks``
is a task of ``loops`` that was given one of ``sales.tasks``. Two programs that give tasks of their
own to one class of a library do not meet in this way, nor do two tasks of one program; programs
that give the same do, and share it.

Whoever makes the task from its origin imports all these modules, and finds what the texts of
parameters name in the latter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

#: Between modules. In none of them: dots separate names, and slashes in paths stand alone.
SEPARATOR: Final = "//"
#: In front of what tells apart where several modules are named.
_DIGEST: Final = "#"
_DIGEST_CHARS: Final = 12
#: So many named modules are spelled; the digest tells all apart.
NAMED_MAX: Final = 8
#: A path may begin with two slashes, and means the same as with one.
_DOUBLE: Final = "file://"


def spell(module: str, named: Sequence[str]) -> str:
    """Spell the origin of a task of a module whose parameters hold classes of other modules."""
    if all(each == module for each in named):
        return module
    several = list(dict.fromkeys(named))
    parts = [module, *several[:NAMED_MAX]]
    if len(several) > 1:
        whole = hashlib.sha256("\n".join(named).encode("utf-8", "surrogateescape"))
        parts.append(_DIGEST + whole.hexdigest()[:_DIGEST_CHARS])
    return SEPARATOR.join(
        each.replace(_DOUBLE, "file:/", 1) if each.startswith(_DOUBLE) else each for each in parts
    )


def split(origin: str) -> tuple[str, list[str]]:
    """Return the module of an origin, and those of what its parameters hold."""
    if SEPARATOR not in origin or origin.startswith(_DOUBLE):
        return origin, []
    module, *named = origin.split(SEPARATOR)
    return module, [each for each in named if not each.startswith(_DIGEST)]
