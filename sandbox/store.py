"""Named tables of JSON rows: in memory for speed, and in SQLite when they must outlive a kill -9."""

import json
import sqlite3
from pathlib import Path
from typing import Any

Row = dict[str, Any]

_UPSERT = (
    "INSERT INTO rows (tbl, key, body) VALUES (?, ?, ?) "
    "ON CONFLICT (tbl, key) DO UPDATE SET body = excluded.body"  # keeps the rowid, so order survives
)


class Store:
    """Rows by table and key, in insertion order.

    Callers change a row and then `put` it; `commit` makes every put and drop since the last one durable in a single
    transaction. Only the process may die, not the machine, so SQLite does not sync to disk.
    """

    def __init__(self, path: Path | None) -> None:
        self._tables: dict[str, dict[str, Row]] = {}
        self._dirty: dict[tuple[str, str], Row | None] = {}
        self._db = None if path is None else _open(path)
        if self._db is not None:
            for table, key, body in self._db.execute("SELECT tbl, key, body FROM rows ORDER BY rowid"):
                self.table(table)[key] = json.loads(body)

    def table(self, name: str) -> dict[str, Row]:
        """The live rows of one table by key, oldest first. Read only: write through `put` and `drop`."""
        return self._tables.setdefault(name, {})

    def get(self, table: str, key: str) -> Row | None:
        """One row, or None."""
        return self.table(table).get(key)

    def put(self, table: str, key: str, row: Row) -> None:
        """Keep a new or changed row."""
        self.table(table)[key] = row
        if self._db is not None:
            self._dirty[table, key] = row

    def drop(self, table: str, key: str) -> None:
        """Forget a row; no error when it is gone already."""
        self.table(table).pop(key, None)
        if self._db is not None:
            self._dirty[table, key] = None

    def commit(self) -> None:
        """Make all changes since the last commit survive the process. Free when nothing changed."""
        if self._db is None or not self._dirty:
            return
        gone = [name for name, row in self._dirty.items() if row is None]
        kept = [(*name, json.dumps(row)) for name, row in self._dirty.items() if row is not None]
        self._dirty.clear()
        with self._db:
            self._db.executemany(_UPSERT, kept)
            self._db.executemany("DELETE FROM rows WHERE tbl = ? AND key = ?", gone)

    def clear(self) -> None:
        """Forget everything, on disk too."""
        for table in self._tables.values():  # emptied in place: others hold references to them
            table.clear()
        self._dirty.clear()
        if self._db is not None:
            with self._db:
                self._db.execute("DELETE FROM rows")

    def close(self) -> None:
        """Commit and release the file."""
        self.commit()
        if self._db is not None:
            self._db.close()
            self._db = None


def _open(path: Path) -> sqlite3.Connection:
    """Open or create the state file, for this process alone (sqlite3.OperationalError when in use)."""
    db = sqlite3.connect(path, timeout=1)  # a predecessor may be on its way out
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = OFF")
    db.execute("CREATE TABLE IF NOT EXISTS rows (tbl TEXT, key TEXT, body TEXT, PRIMARY KEY (tbl, key))")
    db.commit()
    return db
