"""Identities both sides agree on: worker uid, session, token, run id.

All are opaque strings on the wire. Only the side that makes one looks inside it; a worker only
compares the order of tokens, to know a late copy of an old grant.
"""

from __future__ import annotations

import secrets

#: (lineage, epoch, seq) as ``<16 hex>.<epoch>.<seq>``; the value of ``FLOW_TOKEN`` in a task.
Token = str
#: (epoch, n) as ``<epoch>.<n>``: one successful JOIN of one worker uid.
Session = str
#: 128 random bits as hex, made at each start of a worker agent.
WorkerUid = str
#: ``r-<number>``: one submission of root tasks.
RunId = str

LINEAGE_BYTES = 8
UID_BYTES = 16


def new_lineage() -> str:
    """Make the random name of one history of one state database."""
    return secrets.token_hex(LINEAGE_BYTES)


def new_uid() -> WorkerUid:
    """Make the identity of one start of a worker agent, or of a client request."""
    return secrets.token_hex(UID_BYTES)


def token(lineage: str, epoch: int, seq: int) -> Token:
    """Spell the token of one grant."""
    return f"{lineage}.{epoch}.{seq}"


def session(epoch: int, number: int) -> Session:
    """Spell the session of one successful JOIN."""
    return f"{epoch}.{number}"


def token_seq(token: Token) -> int:
    """Return where a token stands in the order of all grants; -1 for what is no token."""
    digits = token.rpartition(".")[2]
    return int(digits) if digits.isdecimal() else -1
