"""Schema migrations: numbered SQL files, each applied in its own transaction."""

import sqlite3
from pathlib import Path
from time import time_ns

from store.api.errors import StoreTooNew

MIGRATIONS_FOLDER = Path(__file__).parents[1] / "migrations"

CREATE_MIGRATION_TABLE = """
CREATE TABLE IF NOT EXISTS migration (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    applied_at INTEGER NOT NULL
) STRICT
"""


def migrate(connection: sqlite3.Connection, folder: Path = MIGRATIONS_FOLDER) -> None:
    """Apply, in order, the migrations in `folder` (NNN_name.sql) that the database does not have.

    Raises `StoreTooNew`, before any change, if the database has one that is not in `folder`.
    """
    applied = check_not_newer(connection, folder)
    connection.execute(CREATE_MIGRATION_TABLE)
    for number, file in _migration_files(folder).items():
        if number not in applied:
            _apply_migration(connection, number, file)


def check_not_newer(
    connection: sqlite3.Connection, folder: Path = MIGRATIONS_FOLDER
) -> dict[int, str]:
    """Return the names of applied migrations by number; raise `StoreTooNew` if one is unknown."""
    files, applied = _migration_files(folder), _applied_migrations(connection)
    for number, name in applied.items():
        if number not in files:
            raise StoreTooNew(
                f"the database was written by a newer Marquee (it has migration {number}, "
                f"{name!r}; this one knows up to {max(files)}): update the program"
            )
    return applied


def _migration_files(folder: Path) -> dict[int, Path]:
    return {int(file.name.split("_")[0]): file for file in sorted(folder.glob("*.sql"))}


def _applied_migrations(connection: sqlite3.Connection) -> dict[int, str]:
    known = connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'migration'").fetchone()
    if known is None:
        return {}
    return dict(connection.execute("SELECT number, name FROM migration ORDER BY number"))


def _apply_migration(connection: sqlite3.Connection, number: int, file: Path) -> None:
    try:
        connection.executescript(f"BEGIN IMMEDIATE;\n{file.read_text('utf-8')}")
        connection.execute(
            "INSERT INTO migration VALUES (?, ?, ?)", (number, file.stem, time_ns() // 1000)
        )
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
