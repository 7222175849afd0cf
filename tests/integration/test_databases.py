"""SQLTarget, CopyToTable and RedisTarget on real servers."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from flow.errors import UsageError
from flow.extras import MissingExtra
from flow.parameters.scalar import IntParameter
from flow.targets import sql_engine
from flow.targets.mock import MockTarget
from flow.targets.redis import RedisTarget
from flow.targets.sql import CopyToTable, SQLTarget
from flow.task import ExternalTask
from flow.usercode.completeness import Checker
from tests.support.servers import PASSWORD

TIMEOUT_S = 60.0

COLUMNS = [(["id", sa.Integer], {}), (["city", sa.String(64)], {})]


def load(url: str, **body: Any) -> CopyToTable:
    """Make a task that loads two rows; ``body`` replaces what it says."""

    class Load(CopyToTable):
        n = IntParameter(default=1)
        connection_string = url
        table = "cities"
        columns = COLUMNS
        _visible_in_registry = False

        def rows(self) -> Iterator[Any]:
            yield (self.n, "Oslo")
            yield (self.n, "Graz")

    return type("Load", (Load,), {"_visible_in_registry": False, **body})()  # type: ignore[no-any-return]


def rows_in(url: str, table: str = "cities") -> list[Any]:
    engine = sa.create_engine(url)
    try:
        with engine.connect() as connection:
            return list(connection.execute(sa.text(f"SELECT * FROM {table}")))
    finally:
        engine.dispose()


def test_targets_package_offers_the_names_when_they_are_used() -> None:
    import flow.targets

    assert flow.targets.SQLTarget is SQLTarget
    assert flow.targets.CopyToTable is CopyToTable
    assert flow.targets.RedisTarget is RedisTarget
    from flow.contrib.redis_store import RedisTarget as OfLuigisModule
    from flow.contrib.sqla import SQLAlchemyTarget

    assert SQLAlchemyTarget is SQLTarget
    assert OfLuigisModule is RedisTarget


def test_target_touched_exists_with_luigis_columns(database_url: str) -> None:
    target = SQLTarget(database_url, "cities", "Load_1_abc")
    assert not target.exists()
    target.touch()
    target.touch()
    assert target.exists()
    assert not SQLTarget(database_url, "towns", "Load_1_abc").exists()
    assert not SQLTarget(database_url, "cities", "Load_2_abc").exists()
    [(update_id, table, inserted)] = rows_in(database_url, "table_updates")
    assert (update_id, table) == ("Load_1_abc", "cities")
    assert inserted


def test_target_in_marker_table_of_luigi_is_found_and_touched(database_url: str) -> None:
    engine = sa.create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(
            sa.text(
                "CREATE TABLE table_updates (update_id VARCHAR(128) NOT NULL PRIMARY KEY, "
                "target_table VARCHAR(128), inserted TIMESTAMP)"
            )
        )
        connection.execute(
            sa.text("INSERT INTO table_updates VALUES ('old', 'cities', '2020-01-01 00:00:00')")
        )
    engine.dispose()
    assert SQLTarget(database_url, "cities", "old").exists()
    SQLTarget(database_url, "cities", "old").touch()
    SQLTarget(database_url, "cities", "new").touch()
    assert SQLTarget(database_url, "cities", "new").exists()
    assert sorted(row[0] for row in rows_in(database_url, "table_updates")) == ["new", "old"]


def test_exists_creates_no_table(database_url: str) -> None:
    target = SQLTarget(database_url, "cities", "x")
    assert not target.exists()
    assert sa.inspect(target.engine).get_table_names() == []


def test_exists_by_many_threads_at_once_answers_all(database_url: str) -> None:
    SQLTarget(database_url, "cities", "id-7").touch()
    answers: dict[int, bool] = {}

    def ask(n: int) -> None:
        answers[n] = SQLTarget(database_url, "cities", f"id-{n}").exists()

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT_S)
    assert answers == {n: n == 7 for n in range(64)}


def test_marker_table_of_another_name_is_used(database_url: str) -> None:
    target = SQLTarget(database_url, "cities", "x")
    target.marker_table = "marks"
    target.touch()
    assert target.exists()
    assert len(rows_in(database_url, "marks")) == 1
    assert not SQLTarget(database_url, "cities", "x").exists()


def test_copy_loads_rows_and_marker(database_url: str) -> None:
    task = load(database_url)
    assert not task.complete()
    task.run()
    assert task.complete()
    assert rows_in(database_url) == [(1, "Oslo"), (1, "Graz")]


def test_copy_without_rows_is_complete(database_url: str) -> None:
    task = load(database_url, rows=lambda self: [])
    task.run()
    assert task.complete()
    assert rows_in(database_url) == []


def test_copy_run_when_complete_loads_nothing(database_url: str) -> None:
    load(database_url).run()
    load(database_url).run()
    assert len(rows_in(database_url)) == 2


def test_copy_with_a_complete_of_its_own_loads_again_and_renews(database_url: str) -> None:
    task = load(database_url, complete=lambda self: False)
    task.run()
    [(_, _, first)] = rows_in(database_url, "table_updates")
    task.run()
    [(_, _, second)] = rows_in(database_url, "table_updates")
    assert second >= first
    assert len(rows_in(database_url)) == 4


def test_copy_that_fails_in_mid_load_leaves_neither_rows_nor_marker(database_url: str) -> None:
    def rows(self: Any) -> Iterator[Any]:
        yield from [(n, "Oslo") for n in range(5)]
        raise RuntimeError("the source is gone")

    task = load(database_url, rows=rows, chunk_size=2)
    with pytest.raises(RuntimeError, match="the source is gone"):
        task.run()
    assert rows_in(database_url) == []
    assert not task.complete()


def test_copy_whose_marker_cannot_be_written_leaves_no_rows(database_url: str) -> None:
    class Unwritable(SQLTarget):
        def claim(self, connection: sa.Connection) -> None:
            connection.execute(sa.text("INSERT INTO no_such_table VALUES (1)"))

    task = load(database_url, output=lambda self: Unwritable(database_url, "cities", "x"))
    with pytest.raises(sa.exc.DBAPIError):
        task.run()
    assert rows_in(database_url) == []
    assert not task.complete()


def test_copy_of_a_row_of_another_length_names_it(database_url: str) -> None:
    task = load(database_url, rows=lambda self: [(1, "Oslo"), (2, "Graz", "Austria")])
    with pytest.raises(ValueError, match="row 2 has 3 values, the table cities has 2 columns"):
        task.run()
    assert rows_in(database_url) == []


def test_copy_hooks_run_in_the_transaction_of_the_load(database_url: str) -> None:
    def init_copy(self: Any, connection: sa.Connection) -> None:
        connection.execute(sa.text("DELETE FROM cities"))

    def post_copy(self: Any, connection: sa.Connection) -> None:
        connection.execute(sa.text("UPDATE cities SET city = 'Wien' WHERE city = 'Graz'"))

    load(database_url, update_id=lambda self: "first").run()
    load(database_url, init_copy=init_copy, post_copy=post_copy).run()
    assert rows_in(database_url) == [(1, "Oslo"), (1, "Wien")]


def test_copy_override_sees_keys_as_luigi_gives_them(database_url: str) -> None:
    seen: list[Any] = []

    def copy(self: Any, conn: Any, ins_rows: Any, table_bound: Any) -> None:
        seen.append((ins_rows, table_bound.name))
        CopyToTable.copy(self, conn, ins_rows, table_bound)

    load(database_url, copy=copy, chunk_size=1).run()
    assert seen == [
        ([{"_id": 1, "_city": "Oslo"}], "cities"),
        ([{"_id": 1, "_city": "Graz"}], "cities"),
    ]
    assert len(rows_in(database_url)) == 2


def test_copy_reflects_an_existing_table(database_url: str) -> None:
    load(database_url).run()
    task = load(database_url, columns=[], reflect=True, update_id=lambda self: "other")
    task.run()
    assert len(rows_in(database_url)) == 4


def test_copy_reflecting_a_missing_table_says_so(database_url: str) -> None:
    task = load(database_url, columns=[], reflect=True)
    with pytest.raises(UsageError, match="there is no table cities to reflect"):
        task.run()


def test_copy_of_columns_without_types_says_what_to_write(database_url: str) -> None:
    task = load(database_url, columns=["id", "city"])
    with pytest.raises(NotImplementedError, match="override create_table"):
        task.run()


def test_copy_without_a_table_says_which_attribute_is_missing() -> None:
    with pytest.raises(UsageError, match="Load has no table"):
        load("sqlite://", table=None).output()


def test_copy_into_a_schema_keeps_the_marker_outside(postgres_url: str) -> None:
    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE SCHEMA sales"))
    engine.dispose()
    load(postgres_url, schema="sales").run()
    load(postgres_url, schema="sales", update_id=lambda self: "again").run()
    assert len(rows_in(postgres_url, "sales.cities")) == 4
    assert len(rows_in(postgres_url, "public.table_updates")) == 2


def test_copy_reads_the_separated_lines_of_its_input(database_url: str) -> None:
    class Source(ExternalTask):
        _visible_in_registry = False

        def output(self) -> MockTarget:
            return MockTarget("cities.tsv")

    with MockTarget("cities.tsv").open("w") as out:
        out.write("1;Oslo\n2;\n")
    columns = [(["id", sa.String(8)], {}), (["city", sa.String(64)], {})]
    body = {"rows": CopyToTable.rows, "requires": lambda self: Source(), "columns": columns}
    load(database_url, column_separator=";", **body).run()
    assert rows_in(database_url) == [("1", "Oslo"), ("2", "")]


def test_planner_asks_for_many_loads_in_one_query(database_url: str) -> None:
    cls = type(load(database_url))
    tasks = [cls(n=n) for n in range(1200)]
    for task in tasks[:3]:
        task.output().touch()
    statements: list[str] = []
    engine = tasks[0].output().engine
    sa.event.listen(engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    answers = Checker().level(tasks)
    assert answers == [task.n < 3 for task in tasks]
    assert len(statements) == 3, statements


def test_planner_asks_each_load_with_a_complete_of_its_own(database_url: str) -> None:
    cls = type(load(database_url, complete=lambda self: self.n == 4))
    assert Checker().level([cls(n=n) for n in range(3, 6)]) == [False, True, False]


# ------------------------------------------------------------------ several processes

TWO = """
import os, sys, json, time
from flow.targets.sql import CopyToTable, SQLTarget
import sqlalchemy as sa
url, what, folder, count = sys.argv[1:]

class Load(CopyToTable):
    connection_string = url
    table = "cities"
    columns = [(["id", sa.Integer], {}), (["city", sa.String(64)], {})]
    def rows(self):
        open(f"{folder}/{os.getpid()}", "w").close()
        until = time.monotonic() + 60
        while len(os.listdir(folder)) < int(count) and time.monotonic() < until:
            time.sleep(0.01)
        for n in range(100):
            yield (n, "Oslo")

print("ready", flush=True)
sys.stdin.readline()
if what == "create":
    SQLTarget(url, "cities", "x").create_marker_table()
elif what == "touch":
    SQLTarget(url, "cities", "x").touch()
else:
    Load().run()
print(json.dumps(SQLTarget(url, "cities", "x").exists()))
"""


def at_once(url: str, what: str, folder: Path = Path(), count: int = 4) -> list[Any]:
    """Do it in several processes that start together; return what each said."""
    with_pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    words = [sys.executable, "-c", TWO, url, what, str(folder), str(count)]
    processes = [subprocess.Popen(words, text=True, **with_pipes) for _ in range(count)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = []
    for process in processes:
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0, err
        answers.append(json.loads(out))
    return answers


def test_marker_table_made_by_several_processes_at_once_is_there(database_url: str) -> None:
    assert at_once(database_url, "create") == [False] * 4


def test_touch_by_several_processes_at_once_leaves_one_marker(database_url: str) -> None:
    assert at_once(database_url, "touch") == [True] * 4
    assert len(rows_in(database_url, "table_updates")) == 1


def test_load_by_several_processes_at_once_leaves_one_copy(
    database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "inside").mkdir()
    at_once(database_url, "load", tmp_path / "inside")
    assert len(rows_in(database_url)) == 100
    assert len(rows_in(database_url, "table_updates")) == 1


FORKS = """
import os, sys
from flow.targets.sql import SQLTarget
url = sys.argv[1]
target = SQLTarget(url, "cities", "parent")
target.touch()
mine = target.engine
with mine.connect() as open_one:
    pid = os.fork()
    if pid == 0:
        assert target.engine is not mine
        del target, mine
        SQLTarget(url, "cities", "child").touch()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert open_one.exec_driver_sql("SELECT 1").scalar() == 1
assert target.engine is mine
assert target.exists() and SQLTarget(url, "cities", "child").exists()
"""


def test_engine_after_fork_is_a_new_one_and_the_parents_lives(database_url: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS, database_url], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_engine_of_equal_arguments_is_one_and_of_others_another(database_url: str) -> None:
    first = SQLTarget(database_url, "a", "1")
    assert first.engine is SQLTarget(database_url, "b", "2").engine
    other = SQLTarget(database_url, "a", "1", connect_args={"timeout": 3})
    if database_url.startswith("sqlite"):
        assert first.engine is not other.engine


def test_engine_after_the_server_closed_its_connections_connects_again(postgres_url: str) -> None:
    target = SQLTarget(postgres_url, "cities", "x")
    target.touch()
    with target.engine.connect() as connection:
        mine = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar()
    other = sa.create_engine(postgres_url)
    # within one transaction the server would go on telling what it told first
    with other.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"SELECT pg_terminate_backend({mine})"))
        deadline = time.monotonic() + TIMEOUT_S
        alive = sa.text(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {mine}")
        while connection.execute(alive).scalar():
            assert time.monotonic() < deadline, "the connection is still there"
    other.dispose()
    assert target.exists()


# ------------------------------------------------------------------ what is shown


def test_password_is_in_nothing_that_is_shown(
    postgres_url: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    assert PASSWORD in postgres_url
    caplog.set_level("DEBUG")
    target = SQLTarget(postgres_url + "?application_name=x", "cities", "x", echo=True)
    target.touch()
    wrong = SQLTarget(postgres_url.replace(":hush", ":wrong-hush"), "cities", "x")
    with pytest.raises(sa.exc.OperationalError) as caught:
        wrong.exists()
    texts = [repr(target), str(target), repr(target.engine), repr(caught.value), caplog.text]
    assert "flow:***@127.0.0.1" in repr(target)
    for text in [*texts, *capfd.readouterr()]:
        assert "hush-4711" not in text


def test_connection_string_that_cannot_be_read_is_not_repeated() -> None:
    target = SQLTarget("postgresql//flow:hush@host/x", "cities", "x")
    with pytest.raises(UsageError, match="cannot be read") as caught:
        target.exists()
    assert "hush" not in str(caught.value) + repr(target) + repr(caught.value.__cause__)


def test_unknown_dialect_and_missing_driver_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no dialect 'oracledb2'"):
        SQLTarget("oracledb2://u:hush@h/d", "cities", "x").exists()
    monkeypatch.setitem(sys.modules, "MySQLdb", None)
    with pytest.raises(MissingExtra, match="pip install mysqlclient") as caught:
        SQLTarget("mysql://u:hush@h/d", "cities", "x").exists()
    assert "hush" not in str(caught.value)


def test_missing_packages_name_their_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingExtra, match=r"pip install 'flow-workflows\[sql\]'"):
        SQLTarget("sqlite:///x", "cities", "x").exists()
    with pytest.raises(MissingExtra, match=r"pip install 'flow-workflows\[redis\]'"):
        RedisTarget("localhost", 1, 0, "x").exists()


def test_update_id_that_no_index_can_hold_is_refused_at_construction() -> None:
    with pytest.raises(UsageError, match="has 300 characters, at most 255"):
        SQLTarget("sqlite:///x", "cities", "x" * 300)


def test_sqlite_waits_for_another_writer(tmp_path: Path) -> None:
    assert sql_engine.SQLITE_BUSY_S >= 30
    url = f"sqlite:///{tmp_path}/database"
    target = SQLTarget(url, "cities", "x")
    with target.engine.connect() as connection:
        busy_ms = connection.exec_driver_sql("PRAGMA busy_timeout").scalar()
    assert busy_ms == sql_engine.SQLITE_BUSY_S * 1000


def test_deleted_sqlite_file_is_noticed_by_kept_connections(tmp_path: Path) -> None:
    file = tmp_path / "database"
    target = SQLTarget(f"sqlite:///{file}", "cities", "load-1")
    target.touch()
    assert target.exists()
    file.unlink()
    assert not target.exists()
    target.touch()
    target.touch()
    assert target.exists()
    assert marked(file) == ["load-1"]  # in the file that others see, not in the deleted one


def test_replaced_sqlite_file_is_noticed_by_kept_connections(tmp_path: Path) -> None:
    file, other = tmp_path / "database", tmp_path / "other"
    target = SQLTarget(f"sqlite:///{file}", "cities", "load-1")
    target.touch()
    SQLTarget(f"sqlite:///{other}", "cities", "load-2").touch()
    os.replace(other, file)
    assert not target.exists()
    assert SQLTarget(f"sqlite:///{file}", "cities", "load-2").exists()
    target.touch()
    assert marked(file) == ["load-1", "load-2"]


def marked(file: Path) -> list[str]:
    """Ask another connection for the markers in a SQLite file."""
    with contextlib.closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("select update_id from table_updates order by update_id")
        return [row[0] for row in rows]


# ------------------------------------------------------------------ Redis


def test_redis_target_touched_exists_as_luigis_does(redis_port: int) -> None:
    from luigi.contrib import redis_store

    class LuigisTarget(redis_store.RedisTarget):  # type: ignore[misc]
        marker_prefix = "luigi"  # its own default cannot be read in Luigi 3.8

    ours = RedisTarget("localhost", redis_port, 0, "Load_1", password=PASSWORD)
    theirs = LuigisTarget("localhost", redis_port, 0, "Load_1", password=PASSWORD)
    assert not ours.exists()
    ours.touch()
    assert ours.exists()
    assert theirs.exists()
    assert str(ours) == str(theirs) == "luigi:Load_1"
    assert set(theirs.redis_client.hgetall("luigi:Load_1")) == {b"update_id", b"date"}
    LuigisTarget("localhost", redis_port, 0, "Load_2", password=PASSWORD).touch()
    assert RedisTarget("localhost", redis_port, 0, "Load_2", password=PASSWORD).exists()
    assert not RedisTarget("localhost", redis_port, 1, "Load_2", password=PASSWORD).exists()


def test_redis_target_with_expire_goes_by_itself(redis_port: int) -> None:
    target = RedisTarget("localhost", redis_port, 0, "x", password=PASSWORD, expire=100)
    target.touch()
    assert 90 < target.redis_client.ttl("luigi:x") <= 100
    target.redis_client.pexpire("luigi:x", 1)
    deadline = time.monotonic() + TIMEOUT_S
    while target.exists():
        assert time.monotonic() < deadline
    for_ever = RedisTarget("localhost", redis_port, 0, "x", password=PASSWORD)
    target.touch()
    for_ever.touch()
    assert for_ever.redis_client.ttl("luigi:x") == -1


def test_redis_targets_share_a_client_and_show_no_password(redis_port: int) -> None:
    import redis

    first = RedisTarget("localhost", redis_port, 0, "x", PASSWORD)
    assert first.redis_client is RedisTarget("localhost", redis_port, 0, "y", PASSWORD).redis_client
    assert PASSWORD not in repr(first) + str(first) + repr(first.redis_client)
    wrong = RedisTarget("localhost", redis_port, 0, "x", "wrong" + PASSWORD)
    with pytest.raises(redis.AuthenticationError) as caught:
        wrong.exists()
    assert PASSWORD not in repr(caught.value)


def test_redis_target_that_nobody_serves_raises_within_its_timeout() -> None:
    import redis

    with pytest.raises(redis.ConnectionError):
        RedisTarget("localhost", 1, 0, "x", socket_timeout=1).exists()
