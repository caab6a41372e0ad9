"""List of published imports with row counts by outcome."""

import sqlite3
from dataclasses import dataclass

from store.sqlite.core.database import Database

# Number 0 holds the stats of this installation's own banner pages.
LIST_IMPORTS_SQL = """
SELECT
    import.id, source, published_at, count(file.name), coalesce(sum(read), 0),
    coalesce(sum(stored), 0), coalesce(sum(duplicate), 0), coalesce(sum(rejected), 0)
FROM (
    SELECT * FROM import WHERE published_at IS NOT NULL AND id > 0 AND id < ?
    ORDER BY id DESC LIMIT ?
) AS import
LEFT JOIN file ON file.import = import.id
GROUP BY import.id ORDER BY import.id DESC
"""
IMPORT_FILES_SQL = """
SELECT name, read, stored, duplicate, rejected FROM file WHERE import = ? ORDER BY name
LIMIT 30000
"""


@dataclass(frozen=True)
class ImportRecord:
    """A published import; `published_at` in µs, row counts summed over its files."""

    number: int
    source: str
    published_at: int
    files: int
    read: int
    stored: int
    duplicate: int
    rejected: int


@dataclass(frozen=True)
class ImportFileRecord:
    """A file of an import, with its row counts by outcome."""

    name: str
    read: int
    stored: int
    duplicate: int
    rejected: int


async def list_imports(
    database: Database, *, before: int | None = None, limit: int = 50
) -> tuple[list[ImportRecord], int | None]:
    """Return the newest imports below number `before`, and the next `before`; None at the end."""

    def read(connection: sqlite3.Connection) -> tuple[list[ImportRecord], int | None]:
        first = 2**63 - 1 if before is None else before
        rows = [
            ImportRecord(*row) for row in connection.execute(LIST_IMPORTS_SQL, (first, limit + 1))
        ]
        return rows[:limit], rows[limit - 1].number if len(rows) > limit else None

    return await database.read(read)


async def get_import(
    database: Database, number: int
) -> tuple[ImportRecord, list[ImportFileRecord]] | None:
    """Return an import and its files; None if it does not exist."""

    def read(connection: sqlite3.Connection) -> tuple[ImportRecord, list[ImportFileRecord]] | None:
        row = connection.execute(LIST_IMPORTS_SQL, (number + 1, 1)).fetchone()
        if row is None or row[0] != number:
            return None
        return ImportRecord(*row), [
            ImportFileRecord(*file) for file in connection.execute(IMPORT_FILES_SQL, (number,))
        ]

    return await database.read(read)
