"""The simulator's memory: one SQLite file that outlives a kill of the process."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json, to_json

_TABLES = """
CREATE TABLE IF NOT EXISTS documents(
    kind TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY(kind, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS steps(
    id INTEGER PRIMARY KEY AUTOINCREMENT, due REAL NOT NULL, name TEXT NOT NULL,
    subject TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS steps_due ON steps(due, id);
CREATE TABLE IF NOT EXISTS messages(
    id INTEGER PRIMARY KEY AUTOINCREMENT, stream TEXT NOT NULL, url TEXT NOT NULL,
    delivery_id TEXT NOT NULL, body TEXT NOT NULL, due REAL NOT NULL, attempts INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS messages_stream ON messages(stream, id);
CREATE TABLE IF NOT EXISTS ledger(
    id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, kind TEXT NOT NULL,
    reference TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS ledger_reference ON ledger(reference);
"""


@dataclass(frozen=True)
class Step:
    """Work that falls due at a time (seconds since the epoch)."""

    id: int
    due: float
    name: str
    subject: str
    detail: str


@dataclass(frozen=True)
class Message:
    """A call that must reach another system; those of one stream go one after the other."""

    id: int
    stream: str
    url: str
    delivery_id: str
    body: str
    due: float
    attempts: int


class Database:
    """Documents, due steps, outgoing messages and the ledger, with one writer: this process."""

    def __init__(self, path: str) -> None:
        """Open or create the file, for this process alone.

        WAL: a commit is in the file once the call returns. Raises sqlite3.Error, also when
        another process has the file.
        """
        self._sql = sqlite3.connect(path, timeout=2.0, isolation_level=None)
        self._sql.execute("PRAGMA journal_mode=WAL")
        self._sql.execute("PRAGMA synchronous=NORMAL")
        self._sql.execute("PRAGMA locking_mode=EXCLUSIVE")
        self._sql.executescript(_TABLES)

    def close(self) -> None:
        """Close the file."""
        self._sql.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing."""
        self._sql.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._sql.execute("ROLLBACK")
            raise
        self._sql.execute("COMMIT")

    def document(self, kind: str, key: str) -> bytes | None:
        """A stored JSON document, or None."""
        row = self._sql.execute(
            "SELECT body FROM documents WHERE kind = ? AND id = ?", (kind, key)
        ).fetchone()
        return None if row is None else bytes(row[0])

    def keep(self, kind: str, key: str, body: bytes) -> None:
        """Store a JSON document under a kind and an id."""
        self._sql.execute(
            "INSERT INTO documents VALUES(?, ?, ?)"
            " ON CONFLICT(kind, id) DO UPDATE SET body = excluded.body",
            (kind, key, body),
        )

    def plan(self, due: float, name: str, subject: str, detail: str = "") -> None:
        """Schedule a step."""
        self._sql.execute(
            "INSERT INTO steps(due, name, subject, detail) VALUES(?, ?, ?, ?)",
            (due, name, subject, detail),
        )

    def due_steps(self, now: float, limit: int) -> list[Step]:
        """The steps that are due, in the order they fell due."""
        rows = self._sql.execute(
            "SELECT id, due, name, subject, detail FROM steps WHERE due <= ?"
            " ORDER BY due, id LIMIT ?",
            (now, limit),
        ).fetchall()
        return [Step(*row) for row in rows]

    def next_due(self) -> float | None:
        """When the next step falls due."""
        row = self._sql.execute("SELECT min(due) FROM steps").fetchone()
        return None if row[0] is None else float(row[0])

    def step_done(self, step_id: int) -> None:
        """Forget a step."""
        self._sql.execute("DELETE FROM steps WHERE id = ?", (step_id,))

    def send(self, stream: str, url: str, delivery_id: str, body: str, due: float) -> None:
        """Put a message behind the others of its stream."""
        self._sql.execute(
            "INSERT INTO messages(stream, url, delivery_id, body, due, attempts)"
            " VALUES(?, ?, ?, ?, ?, 0)",
            (stream, url, delivery_id, body, due),
        )

    def streams(self) -> list[str]:
        """All streams with something to send."""
        return [row[0] for row in self._sql.execute("SELECT DISTINCT stream FROM messages")]

    def first_message(self, stream: str) -> Message | None:
        """What a stream has to send next."""
        row = self._sql.execute(
            "SELECT id, stream, url, delivery_id, body, due, attempts FROM messages"
            " WHERE stream = ? ORDER BY id LIMIT 1",
            (stream,),
        ).fetchone()
        return None if row is None else Message(*row)

    def message_done(self, message_id: int) -> None:
        """Forget a message."""
        self._sql.execute("DELETE FROM messages WHERE id = ?", (message_id,))

    def try_again(self, message_id: int, due: float) -> None:
        """Count a failed attempt and set the next one."""
        self._sql.execute(
            "UPDATE messages SET attempts = attempts + 1, due = ? WHERE id = ?", (due, message_id)
        )

    def record(self, at: str, kind: str, reference: str, detail: dict[str, Any]) -> None:
        """Write down in the ledger what was done."""
        self._sql.execute(
            "INSERT INTO ledger(at, kind, reference, detail) VALUES(?, ?, ?, ?)",
            (at, kind, reference, to_json(detail).decode()),
        )

    def ledger(
        self, *, kind: str | None, reference: str | None, after: int, limit: int
    ) -> list[dict[str, Any]]:
        """Ledger entries, oldest first."""
        rows = self._sql.execute(
            "SELECT id, at, kind, reference, detail FROM ledger WHERE id > ?1"
            " AND (?2 IS NULL OR kind = ?2) AND (?3 IS NULL OR reference = ?3)"
            " ORDER BY id LIMIT ?4",
            (after, kind, reference, limit),
        )
        return [
            {"id": row[0], "at": row[1], "kind": row[2], "reference": row[3], **from_json(row[4])}
            for row in rows
        ]

    def ledger_counts(self) -> dict[str, int]:
        """How many entries of each kind."""
        return dict(self._sql.execute("SELECT kind, count(*) FROM ledger GROUP BY kind").fetchall())

    def waiting(self) -> dict[str, int]:
        """How many steps and messages are still to do."""
        steps = self._sql.execute("SELECT count(*) FROM steps").fetchone()[0]
        messages = self._sql.execute("SELECT count(*) FROM messages").fetchone()[0]
        return {"steps": steps, "messages": messages}
