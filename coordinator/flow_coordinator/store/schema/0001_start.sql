-- Columns are in the order of the row types of store/base.py.
-- task and progress take a row or two per transition: integer keys only, and one narrow index.

CREATE TABLE identity (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE meta (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Numbers that rows deleted by pruning have used up: (kind, one above the highest).
CREATE TABLE used (
    kind TEXT PRIMARY KEY,
    next INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE family (
    number INTEGER PRIMARY KEY,
    project TEXT NOT NULL,
    module TEXT NOT NULL,
    family TEXT NOT NULL
);

CREATE TABLE policy (
    number INTEGER PRIMARY KEY,
    body BLOB NOT NULL
);

CREATE TABLE task (
    number INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    family INTEGER NOT NULL,
    policy INTEGER NOT NULL,
    task_id TEXT NOT NULL,
    params BLOB NOT NULL,
    upstream BLOB NOT NULL
);

CREATE INDEX task_by_run ON task (run);

CREATE TABLE progress (
    number INTEGER PRIMARY KEY,
    state INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    crashes INTEGER NOT NULL,
    token TEXT,
    worker TEXT,
    changed_at REAL NOT NULL,
    rare BLOB
);

CREATE TABLE run (
    number INTEGER PRIMARY KEY,
    submit_key TEXT NOT NULL,
    project TEXT NOT NULL,
    state INTEGER NOT NULL,
    submitted_at REAL NOT NULL,
    ended_at REAL,
    roots BLOB NOT NULL,
    body BLOB NOT NULL
);

CREATE INDEX run_by_key ON run (submit_key);

CREATE TABLE worker (
    uid TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    host_key TEXT NOT NULL,
    boot_id TEXT NOT NULL,
    joined_at REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE resource (
    name TEXT PRIMARY KEY,
    amount REAL NOT NULL
) WITHOUT ROWID;
