"""Bring a state file to the newest schema: forward only, one transaction a step, a copy first."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from flow.errors import StoreError

#: Marks a file as ours in its header ("FLOW" in ASCII).
APPLICATION_ID = 0x464C4F57
SCHEMA_FOLDER = Path(__file__).parent / "schema"


def schema_steps(folder: Path = SCHEMA_FOLDER) -> list[tuple[int, Path]]:
    """List the numbered SQL files, oldest first. Numbers start at 1 and leave no gap."""
    steps = sorted((int(path.name.split("_")[0]), path) for path in folder.glob("*.sql"))
    if [number for number, _ in steps] != list(range(1, len(steps) + 1)):
        raise StoreError(f"schema files in {folder} are not numbered 1..{len(steps)}")
    return steps


def user_version(conn: sqlite3.Connection) -> int:
    """Read the schema version of a file; 0 is a file nothing was written to."""
    return int(conn.execute("PRAGMA user_version").fetchone()[0])


def migrate(conn: sqlite3.Connection, path: Path, folder: Path = SCHEMA_FOLDER) -> Path | None:
    """Apply the missing steps and return the copy made before the first, if one was needed.

    Raises:
        StoreError: The file is newer than this program.
    """
    steps = schema_steps(folder)
    have = user_version(conn)
    refuse_newer(have, len(steps), path)
    if have == len(steps):
        return None
    copy = None if have == 0 else _copy(conn, path, have)
    for number, file in steps[have:]:
        # Both pragmas write the header inside the transaction: a crash leaves the old version.
        conn.executescript(
            f"BEGIN IMMEDIATE;\n{file.read_text(encoding='utf-8')}\n"
            f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number}; COMMIT;"
        )
    return copy


def refuse_newer(have: int, known: int, path: Path) -> None:
    """Raise ``StoreError`` for a file that a later version of flow wrote."""
    if have > known:
        raise StoreError(
            f"{path} has schema {have}; this version of flow knows up to {known}",
            hint="start the newer flow that wrote it, or restore the copy made before its upgrade "
            f"({path.stem}.v{known}{path.suffix})",
        )


def _copy(conn: sqlite3.Connection, path: Path, version: int) -> Path:
    copy = path.with_name(f"{path.stem}.v{version}{path.suffix}")
    # One left by an upgrade that failed half-way holds the same data: the file did not change.
    copy.unlink(missing_ok=True)
    conn.execute("VACUUM INTO ?", (str(copy),))
    return copy
