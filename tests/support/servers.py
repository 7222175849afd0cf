"""Real database servers for tests: private, on loopback, gone with the test process.

Where a program is missing, its tests are skipped and say so; with ``FLOW_TEST_SERVERS=required``
they fail instead, so that a machine that should have everything never skips in silence.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from flow_worker.guard import kill

START_S = 60.0
LOOK_AGAIN_S = 0.05
#: Never shown to anybody: tests look for it in everything that is printed.
PASSWORD = "hush-hush-4711"
#: URL of a database of another kind, to be tested as well. All its tables are dropped.
OTHER_DATABASE = os.environ.get("FLOW_TEST_DATABASE", "")
#: PostgreSQL refuses to run as root; the first of these that exists runs it then.
UNPRIVILEGED = ("postgres", "nobody")
_databases = itertools.count(1)


def unavailable(reason: str) -> NoReturn:
    """Skip, or fail where servers are required."""
    if os.environ.get("FLOW_TEST_SERVERS") == "required":
        pytest.fail(f"{reason} (FLOW_TEST_SERVERS=required)", pytrace=False)
    pytest.skip(reason)


def program(name: str, *folders: str) -> str:
    """Find a program in PATH or in these folders, newest version first."""
    found = shutil.which(name)
    if found is None:
        places = [p for each in folders for p in Path("/").glob(f"{each.lstrip('/')}/{name}")]
        found = str(max(places)) if places else None
    if found is None:
        unavailable(f"{name} is not installed: apt-get install postgresql redis-server")
    return found


def free_port() -> int:
    """Return a TCP port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One process that serves, with its log."""

    def __init__(self, words: list[str], folder: Path, user: str | None, end_by: int) -> None:
        self.log = folder / "server.log"
        self._end_by = end_by

        def die_with_tests() -> None:
            kill.prctl(kill.PR_SET_PDEATHSIG, end_by)

        identity: dict[str, Any] = {}
        if user is not None:
            entry = pwd.getpwnam(user)
            identity = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                words,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_tests,
                **identity,
            )

    def wait_for(self, answers: Callable[[], Any], errors: tuple[type[Exception], ...]) -> None:
        """Wait until it answers; an end or silence fails with its log."""
        deadline = time.monotonic() + START_S
        while True:
            try:
                answers()
                return
            except errors as error:
                log = self.log.read_text(errors="replace")[-2000:]
                assert self.process.poll() is None, f"the server ended:\n{log}"
                assert time.monotonic() < deadline, f"the server does not answer: {error}\n{log}"
                time.sleep(LOOK_AGAIN_S)

    def end(self) -> None:
        """End it as it likes to be ended, then by force."""
        self.process.send_signal(self._end_by)
        try:
            self.process.wait(START_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def folder_of(user: str | None) -> Iterator[Path]:
    """Make a temporary folder that belongs to a user; pytest's own are closed to others."""
    folder = Path(tempfile.mkdtemp(prefix="flow-server-"))
    try:
        if user is not None:
            entry = pwd.getpwnam(user)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged() -> str | None:
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    unavailable("PostgreSQL refuses to run as root, and there is no other user")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Run PostgreSQL; give the URL of its first database, password included."""
    import psycopg

    initdb = program("initdb", "/usr/lib/postgresql/*/bin")
    user = _unprivileged()
    with folder_of(user) as folder:
        (folder / "password").write_text(PASSWORD)
        os.chmod(folder / "password", 0o644)
        words = [initdb, "-D", "data", "-U", "flow", "--no-sync", "-E", "UTF8", "--locale=C"]
        words += ["--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile=password"]
        server = Server(words, folder, user, signal.SIGKILL)
        assert server.process.wait(START_S) == 0, server.log.read_text()
        port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "fsync": "off",
            "unix_socket_directories": str(folder),
            "shared_buffers": "16MB",
        }
        postgres = Path(os.path.realpath(initdb)).with_name("postgres")
        words = [str(postgres), "-D", "data"]
        for name, value in settings.items():
            words += ["-c", f"{name}={value}"]
        server = Server(words, folder, user, signal.SIGQUIT)
        try:
            where = f"postgresql://flow:{PASSWORD}@127.0.0.1:{port}/postgres"
            server.wait_for(lambda: psycopg.connect(where).close(), (psycopg.OperationalError,))
            yield where.replace("postgresql://", "postgresql+psycopg://")
        finally:
            server.end()


@pytest.fixture
def postgres_url(postgres_server: str) -> str:
    """Give a new, empty PostgreSQL database."""
    import psycopg

    name = f"test_{next(_databases)}"
    server = postgres_server.replace("+psycopg", "")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return postgres_server.removesuffix("postgres") + name


def _emptied(url: str) -> str:
    """Drop every table of a database."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(url)
    tables = sqlalchemy.MetaData()
    tables.reflect(engine)
    tables.drop_all(engine)
    engine.dispose()
    return url


@pytest.fixture(
    params=[
        pytest.param("postgresql", marks=pytest.mark.xdist_group("postgres_server")),
        "sqlite",
        *(["other"] if OTHER_DATABASE else []),
    ]
)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/database"
    if request.param == "other":
        return _emptied(OTHER_DATABASE)
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture(scope="session")
def redis_server() -> Iterator[int]:
    """Run Redis with the password ``PASSWORD``; give its port."""
    import redis

    words = [program("redis-server", "/usr/sbin"), "--bind", "127.0.0.1", "--save", ""]
    with folder_of(None) as folder:
        port = free_port()
        words += ["--port", str(port), "--requirepass", PASSWORD, "--dir", str(folder)]
        server = Server(words, folder, None, signal.SIGTERM)
        try:
            with redis.Redis(port=port, password=PASSWORD) as client:
                server.wait_for(client.ping, (redis.RedisError,))
            yield port
        finally:
            server.end()


@pytest.fixture
def redis_port(redis_server: int) -> int:
    """Give the port of an empty Redis."""
    import redis

    with redis.Redis(port=redis_server, password=PASSWORD) as client:
        client.flushall()
    return redis_server
