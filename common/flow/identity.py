"""The name of a task: ``Family_summary_hash``, byte for byte as Luigi spells it.

Outputs, logs and stores of existing pipelines are named by it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from json.encoder import encode_basestring_ascii
from typing import Final

#: The summary shows the first parameters, in alphabetical order of their names.
SUMMARY_PARAMS_MAX: Final = 3
#: Each value of the summary is cut to this many characters.
SUMMARY_CHARS_MAX: Final = 16
#: Hexadecimal digits of the hash.
HASH_CHARS: Final = 10

_not_a_word = re.compile(r"[^A-Za-z0-9_]")


def task_id_str(family: str, params: Mapping[str, str]) -> str:
    """Spell the id of a task from its significant public parameters, as strings."""
    return spell(family, sorted(params.items()))


def spell(family: str, pairs: Iterable[tuple[str, str]]) -> str:
    """Spell a task id from (name, text) pairs which are sorted by name already."""
    texts = []
    members = []
    for name, text in pairs:
        texts.append(text)
        members.append(f"{encode_basestring_ascii(name)}:{encode_basestring_ascii(text)}")
    # The bytes of json.dumps(params, separators=(",", ":"), sort_keys=True), in a third of its time
    body = "{" + ",".join(members) + "}"
    digest = hashlib.md5(body.encode(), usedforsecurity=False).hexdigest()
    summary = "_".join([text[:SUMMARY_CHARS_MAX] for text in texts[:SUMMARY_PARAMS_MAX]])
    return f"{family}_{_not_a_word.sub('_', summary)}_{digest[:HASH_CHARS]}"
