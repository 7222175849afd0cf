"""Rows in a database as a target, and the task that loads them. Needs the extra ``sql``.

A table cannot tell whether one load of it is complete, so a marker says so: a row in the table
``table_updates`` of the same database, written in the transaction of the load. Names, columns and
meaning are those of Luigi's ``contrib.sqla``, so what Luigi marked counts as done here.
"""

from __future__ import annotations

import datetime
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from flow.errors import UsageError
from flow.parameters.defaults import settings
from flow.targets.base import Target
from flow.targets.sql_engine import engine_for, shown, sqlalchemy
from flow.task import BulkCompleteNotImplementedError, Task

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table

#: Of the marker's columns; an index over both is possible in every database.
UPDATE_ID_CHARACTERS_MAX: Final = 255
#: Markers asked for in one query.
ASKED_AT_ONCE_MAX: Final = 500


class SQLTarget(Target):
    """One load into one table of a database: it exists when its marker does.

    Args:
        connection_string: ``postgresql://user:password@host/database``, ``mysql://...``,
            ``mssql+pyodbc://...``, ``sqlite:////path``: what SQLAlchemy takes. A SQLite database
            in memory belongs to one thread: use a file.
        target_table: The table that is loaded.
        update_id: Names the load; a task's id, usually.
        echo: Have SQLAlchemy log its statements.
        connect_args: For the database's driver.
    """

    #: Name of the table of markers; None: as ``[sql] marker_table`` says.
    marker_table: str | None = None

    def __init__(
        self,
        connection_string: str,
        target_table: str,
        update_id: str,
        echo: bool = False,
        connect_args: Mapping[str, Any] | None = None,
    ) -> None:
        if len(update_id) > UPDATE_ID_CHARACTERS_MAX:
            raise UsageError(
                f"the update_id {update_id[:40]}... has {len(update_id)} characters, "
                f"at most {UPDATE_ID_CHARACTERS_MAX} are possible",
                hint="give the load a shorter name",
            )
        self.connection_string = connection_string
        self.target_table = target_table
        self.update_id = update_id
        self.echo = echo
        self.connect_args = dict(connect_args or {})

    def __str__(self) -> str:
        return self.target_table

    def __repr__(self) -> str:
        where = shown(self.connection_string)
        return f"{type(self).__name__}({where!r}, {self.target_table!r}, {self.update_id!r})"

    @property
    def engine(self) -> Engine:
        """The engine of this process; targets in the same database share it and its connections."""
        return engine_for(self.connection_string, self.connect_args, self.echo)

    def exists(self) -> bool:
        """Tell whether the load is complete. Creates nothing, and may be called by many threads."""
        return bool(existing([self]))

    def touch(self, connection: Connection | None = None) -> None:
        """Write the marker, or renew it.

        Args:
            connection: One with an open transaction, of which the marker becomes a part; None: a
                transaction of its own.
        """
        if connection is not None:
            self._write(connection)
            return
        self.create_marker_table()
        try:
            with self.engine.begin() as own:
                self._write(own)
        except sqlalchemy().exc.DBAPIError:
            with self.engine.begin() as own:  # another process was first: now there is a row
                self._write(own)

    def claim(self, connection: Connection) -> None:
        """Write the marker as part of a transaction, unless the load has one.

        Raises:
            sqlalchemy.exc.IntegrityError: Another process completed the same load meanwhile, so
                this transaction must not be committed.
        """
        connection.execute(self._marker().insert().values(self._row()))

    def create_marker_table(self) -> None:
        """Create the table of markers where there is none; any number of hosts may at once."""
        create_if_missing(self.engine, self._marker())

    def _marker(self) -> Table:
        sa = sqlalchemy()
        table: Table = sa.Table(
            self.marker_table or settings().sql.marker_table,
            sa.MetaData(),
            sa.Column("update_id", sa.String(UPDATE_ID_CHARACTERS_MAX), primary_key=True),
            sa.Column("target_table", sa.String(UPDATE_ID_CHARACTERS_MAX), primary_key=True),
            sa.Column("inserted", sa.DateTime),
        )
        return table

    def _row(self) -> dict[str, Any]:
        now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
        return {"update_id": self.update_id, "target_table": self.target_table, "inserted": now}

    def _write(self, connection: Connection) -> None:
        table = self._marker()
        mine = (table.c.update_id == self.update_id) & (table.c.target_table == self.target_table)
        # An UPDATE that finds nothing would lock the gap, and two such deadlock in MySQL.
        there = connection.execute(table.select().where(mine)).first()
        change = table.insert() if there is None else table.update().where(mine)
        connection.execute(change.values(self._row()))


def existing(targets: Sequence[SQLTarget]) -> set[str]:
    """Return the update ids of those that exist. They must share database and table.

    Cost: one query for ``ASKED_AT_ONCE_MAX`` of them.
    """
    if not targets:
        return set()
    sa = sqlalchemy()
    first = targets[0]
    table = first._marker()
    found: set[str] = set()
    for at in range(0, len(targets), ASKED_AT_ONCE_MAX):
        ids = [target.update_id for target in targets[at : at + ASKED_AT_ONCE_MAX]]
        query = sa.select(table.c.update_id).where(
            table.c.update_id.in_(ids), table.c.target_table == first.target_table
        )
        rows = _ask(first.engine, query, table)
        if rows is None:
            break
        found.update(str(row[0]) for row in rows)
    return found


def _ask(engine: Engine, query: Any, table: Table) -> Sequence[Any] | None:
    """Return the rows; None where there is no table of markers yet."""
    sa = sqlalchemy()
    try:
        with engine.connect() as connection:
            return list(connection.execute(query))
    except sa.exc.DBAPIError:
        if not sa.inspect(engine).has_table(table.name):
            return None
    with engine.connect() as connection:  # it has one since a moment ago, or the error stays
        return list(connection.execute(query))


def create_if_missing(engine: Engine, table: Table) -> None:
    """Create a table; that another process does so at the same time is no error."""
    sa = sqlalchemy()
    try:
        with engine.begin() as connection:
            table.create(connection, checkfirst=True)
    except sa.exc.DBAPIError:
        if not sa.inspect(engine).has_table(table.name, table.schema):
            raise


class CopyToTable(Task):
    """Load rows into a table: all of them once, or none.

    Subclasses say ``connection_string``, ``table`` and ``columns``, as attributes, properties or
    parameters, and override ``rows()`` unless their input is a file of separated columns::

        class Load(flow.targets.sql.CopyToTable):
            day = flow.DateParameter()
            connection_string = "postgresql://reports@db/sales"
            table = "sales"
            columns = [(["id", Integer], {"primary_key": True}), (["city", String(64)], {})]

            def requires(self):
                return Sales(day=self.day)

    Rows and marker are one transaction: a load that fails or is killed leaves neither, and of two
    that run at the same time one is undone. ``run()`` of a load that has its marker does nothing,
    unless the class has a ``complete()`` of its own: then it loads again and renews the marker.
    """

    _visible_in_registry = False

    #: Of the database, see ``SQLTarget``. As a parameter it would show in the task's id.
    connection_string: Any = None
    #: The table to load. It is created where it does not exist.
    table: Any = None
    #: One ``(args, kwargs)`` of ``sqlalchemy.Column`` for each column, in the order of a row.
    columns: Any = []
    #: True: the table exists, read its columns from the database.
    reflect: Any = False
    #: Schema of the table (not of the marker's table), which must exist.
    schema: Any = ""
    #: Between the columns of a line of the input.
    column_separator: Any = "\t"
    #: Rows inserted by one statement.
    chunk_size: Any = 5000
    #: Have SQLAlchemy log its statements.
    echo: Any = False
    #: For the database's driver.
    connect_args: Any = {}

    def update_id(self) -> str:
        """Return the name of this load: by default, the task's id."""
        return self.task_id

    def output(self) -> SQLTarget:
        """Return the marker of this load."""
        for name in ("connection_string", "table"):
            if not getattr(self, name):
                raise UsageError(f"{self.task_family} has no {name}", hint=f"set {name} = ...")
        return SQLTarget(
            self.connection_string, self.table, self.update_id(), self.echo, self.connect_args
        )

    @classmethod
    def bulk_complete(cls, parameter_tuples: Iterable[Any]) -> list[Any]:
        """Ask for many loads of one table in one query."""
        if cls.complete is not Task.complete:
            raise BulkCompleteNotImplementedError
        items = list(parameter_tuples)
        groups: dict[Any, list[tuple[Any, SQLTarget]]] = {}
        for item in items:
            target = _task_of(cls, item).output()
            if type(target) is not SQLTarget:
                raise BulkCompleteNotImplementedError
            groups.setdefault((target.engine, target.target_table), []).append((item, target))
        done: list[Any] = []
        for members in groups.values():
            found = existing([target for _, target in members])
            done += [item for item, target in members if target.update_id in found]
        return done

    def create_table(self, engine: Engine) -> None:
        """Set ``table_bound``: the table in the database, created if it is not there.

        Override to create it in another way.

        Raises:
            NotImplementedError: ``columns`` has no types.
            UsageError: With ``reflect``, there is no such table.
        """
        sa = sqlalchemy()
        metadata = sa.MetaData(schema=self.schema or None)
        if self.reflect or sa.inspect(engine).has_table(self.table, self.schema or None):
            try:
                self.table_bound = sa.Table(self.table, metadata, autoload_with=engine)
            except sa.exc.NoSuchTableError:
                raise UsageError(
                    f"{self.task_family}: there is no table {self.table} to reflect",
                    hint="create it, or set reflect = False and columns = [...]",
                ) from None
            return
        if not self.columns or any(len(column) != 2 for column in self.columns):
            raise NotImplementedError(
                f"{self.task_family}: {self.table} does not exist and columns has no types: "
                "write ([name, type], {options}) for each, or override create_table()"
            )
        columns = [sa.Column(*args, **options) for args, options in self.columns]
        self.table_bound = sa.Table(self.table, metadata, *columns)
        create_if_missing(engine, self.table_bound)

    def rows(self) -> Iterable[Sequence[Any]]:
        """Yield the rows: by default, the lines of the input, split at ``column_separator``."""
        with self.input().open("r") as lines:
            for line in lines:
                yield line.strip("\n").split(self.column_separator)

    def init_copy(self, connection: Connection) -> None:
        """Do something in the transaction before the first row, such as deleting old ones."""

    def copy(self, conn: Connection, ins_rows: list[dict[str, Any]], table_bound: Table) -> None:
        """Insert some rows; override for updates. Keys are ``_`` and the column's name."""
        bindparam = sqlalchemy().bindparam
        values = {column: bindparam(f"_{column.key}") for column in table_bound.columns}
        conn.execute(table_bound.insert().values(values), ins_rows)

    def post_copy(self, connection: Connection) -> None:
        """Do something in the transaction after the last row."""

    def run(self) -> Any:
        """Load all rows and write the marker, in one transaction."""
        output = self.output()
        engine = output.engine
        output.create_marker_table()
        again = output.exists()
        log = logging.getLogger("flow.targets")
        if again and type(self).complete is Task.complete:
            log.warning("%s is loaded already", output.update_id)
            return
        self.create_table(engine)
        count = 0
        try:
            with engine.begin() as connection:
                self.init_copy(connection)
                for chunk in self._chunks():
                    self.copy(connection, chunk, self.table_bound)
                    count += len(chunk)
                self.post_copy(connection)
                if again:
                    output.touch(connection)
                else:
                    output.claim(connection)
        except sqlalchemy().exc.DBAPIError:
            if again or not output.exists():
                raise
            # By another process, so this load is undone; or by this one, and only the answer to
            # its COMMIT was lost.
            log.warning("%s is loaded, exactly once, in spite of an error here", output.update_id)
            return
        log.info("loaded %d rows into %s", count, self.table)

    def _chunks(self) -> Iterator[list[dict[str, Any]]]:
        names = [f"_{column.key}" for column in self.table_bound.columns]
        numbered = enumerate(self.rows(), 1)
        while some := list(itertools.islice(numbered, self.chunk_size)):
            for number, row in some:
                if len(row) != len(names):
                    raise ValueError(
                        f"row {number} has {len(row)} values, "
                        f"the table {self.table} has {len(names)} columns"
                    )
            yield [dict(zip(names, row, strict=True)) for _, row in some]


def _task_of(cls: type[Task], item: Any) -> Any:
    if isinstance(item, Mapping):
        return cls(**item)
    return cls(*item) if isinstance(item, (list, tuple)) else cls(item)
