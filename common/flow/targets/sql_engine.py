"""One SQLAlchemy engine per database and process, and what may be shown of how it is reached."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from flow.errors import UsageError
from flow.extras import MissingExtra, need

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

EXTRA: Final = "sql"
#: How long a SQLite connection waits for another writer unless ``connect_args`` says otherwise:
#: its own default is less than one bulk load takes.
SQLITE_BUSY_S: Final = 60.0
#: Packages that bring a driver, where they are not called like its module.
_DRIVERS: Final = {
    "psycopg": "'psycopg[binary]'",
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
}

_engines: dict[tuple[str, str, bool], Engine] = {}
_lock = threading.Lock()
#: Engines of the process this one was forked from. Kept and never touched: closing them, as
#: garbage collection would, says goodbye on connections that the other process still uses.
_inherited: list[Engine] = []


def _after_fork() -> None:
    """Share nothing with the process this one was forked from, not even a lock it held."""
    global _lock
    _lock = threading.Lock()
    _inherited.extend(_engines.values())
    _engines.clear()


os.register_at_fork(after_in_child=_after_fork)


def sqlalchemy() -> Any:
    """Import SQLAlchemy. Raises ``MissingExtra``."""
    return need("sqlalchemy", EXTRA, "SQLTarget")


def engine_for(connection_string: str, connect_args: Mapping[str, Any], echo: bool) -> Engine:
    """Return this process's engine for a database; equal arguments share one, with its pool.

    Raises:
        UsageError: The connection string cannot be read.
        MissingExtra: SQLAlchemy or the database's driver is not installed.
    """
    key = (connection_string, repr(sorted(connect_args.items())), echo)
    with _lock:
        engine = _engines.get(key)
        if engine is None:
            engine = _engines[key] = _make(connection_string, dict(connect_args), echo)
        return engine


def _make(connection_string: str, connect_args: dict[str, Any], echo: bool) -> Engine:
    sa = sqlalchemy()
    url = _url(connection_string)
    if url.get_backend_name() == "sqlite" and "timeout" not in url.query:
        connect_args.setdefault("timeout", SQLITE_BUSY_S)
    try:
        # Connections are kept for hours: one that the server closed meanwhile is replaced.
        engine: Engine = sa.create_engine(
            url, connect_args=connect_args, echo=echo, pool_pre_ping=True
        )
    except sa.exc.NoSuchModuleError:
        raise UsageError(
            f"{shown(connection_string)}: there is no dialect {url.drivername!r}",
            hint="postgresql://, mysql://, mssql:// and sqlite:// are known to SQLAlchemy itself",
        ) from None
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        command = f"pip install {_DRIVERS.get(package, package)}"
        raise MissingExtra(
            f"{shown(connection_string)} needs {package}, which is not installed: {command}"
        ) from None
    if url.get_backend_name() == "sqlite":
        _watch_file(engine)
    return engine


def _watch_file(engine: Engine) -> None:
    """Have a kept connection to a SQLite file that was deleted or replaced made anew.

    It would go on with a file that nobody else can see, and what it writes would be lost.
    """
    sa = sqlalchemy()

    @sa.event.listens_for(engine, "connect")  # type: ignore[untyped-decorator]
    def connected(connection: Any, record: Any) -> None:
        rows = connection.execute("PRAGMA database_list").fetchall()
        record.info["path"] = next((path for _, name, path in rows if name == "main"), "")
        record.info["file"] = _file_id(record.info["path"])

    @sa.event.listens_for(engine, "checkin")  # type: ignore[untyped-decorator]
    def returned(_connection: Any, record: Any) -> None:
        if record.info.get("file") is None:  # it was created by what was done with it
            record.info["file"] = _file_id(record.info.get("path", ""))

    @sa.event.listens_for(engine, "checkout")  # type: ignore[untyped-decorator]
    def taken(_connection: Any, record: Any, _fairy: Any) -> None:
        known = record.info.get("file")
        if known is not None and known != _file_id(record.info["path"]):
            raise sa.exc.DisconnectionError(f"{record.info['path']} is another file now")


def _file_id(path: str) -> tuple[int, int] | None:
    """Return device and inode; None: there is no such file, as of a database in memory."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _url(connection_string: str) -> URL:
    """Parse, or raise without the text: it may have a password in it."""
    sa = sqlalchemy()
    try:
        url: URL = sa.engine.make_url(connection_string)
    except (sa.exc.ArgumentError, ValueError):
        raise UsageError(
            "a connection string cannot be read",
            hint="write dialect://user:password@host:port/database; "
            "in a password, characters such as @ and / are %40 and %2F",
        ) from None
    return url


def shown(connection_string: str) -> str:
    """Spell a connection string for people: no password, and nothing that could contain one."""
    try:
        url = _url(connection_string).set(query={})
    except (UsageError, MissingExtra):
        return "..."
    return url.render_as_string(hide_password=True)
