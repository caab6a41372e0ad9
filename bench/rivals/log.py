"""The table of events that every rival fills, with the indexes that our queries need or bare."""

import sqlite3
from datetime import datetime
from typing import Any

TABLE = """
CREATE TABLE event (
    id INTEGER PRIMARY KEY, source INTEGER, app INTEGER, session TEXT, user INTEGER, category TEXT,
    name TEXT, at INTEGER, received INTEGER, sender TEXT, digest BLOB, data TEXT
) STRICT;
CREATE UNIQUE INDEX event_sender ON event (app, sender) WHERE sender IS NOT NULL;
"""
INDEXES = """
CREATE INDEX event_session ON event (session, at);
CREATE INDEX event_type ON event (category, name, at);
CREATE INDEX event_at ON event (at);
"""
PRAGMAS = ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL")
INSERT = (
    "INSERT INTO event (source, app, session, category, name, at, received, sender, data) "
    "VALUES (1, 1, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
)


def create(path: str, *, bare: bool = False) -> None:
    """Make the file anew, with the tables."""
    connection = sqlite3.connect(path)
    connection.execute(PRAGMAS[0])
    connection.executescript(TABLE + ("" if bare else INDEXES))
    connection.close()


def row(event: dict[str, Any], data: str) -> tuple[Any, ...]:
    """The values that `INSERT` takes."""
    at = int(datetime.fromisoformat(event["timestamp"]).timestamp() * 1_000_000)
    return (
        event["session_id"],
        event["category"],
        event["name"],
        at,
        at,
        event.get("sender_id"),
        data,
    )
