-- A run with many roots has the first ones in its own row, and the others here: what one turn
-- changes of them is written in pages. Columns are in the order of RootsRow in store/base.py.

CREATE TABLE roots (
    run INTEGER NOT NULL,
    page INTEGER NOT NULL,
    tasks BLOB NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (run, page)
);
