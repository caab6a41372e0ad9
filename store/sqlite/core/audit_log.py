"""Audit log of changes by users: who, when and what, without secrets; old entries are deleted."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from time import time_ns

from store.sqlite.core.database import Database

MAX_AUDIT_ENTRIES = 100_000
# Maximum characters of an entry's subject, and of one value in it.
MAX_SUBJECT_CHARS, MAX_VALUE_CHARS = 500, 120
ADD_ENTRY_SQL = "INSERT INTO audit (at, who, deed, about) VALUES (?, ?, ?, ?)"
LIST_ENTRIES_SQL = """
SELECT n, at, who, deed, about FROM audit WHERE n < ? AND who = coalesce(?, who)
ORDER BY n DESC LIMIT ?
"""


@dataclass(frozen=True)
class AuditEntry:
    """A change; `at` is in µs since 1970."""

    n: int
    at: int
    who: str
    deed: str
    about: str


def format_value(value: object) -> str:
    """Return a value as text for an entry: short, and never empty."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    text = str(value) if value not in (None, "") else "none"
    return text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 1] + "…"


def format_changes(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    """Return the values that differ, as `name: before → after`; "nothing" if none do."""
    return (
        "; ".join(
            f"{name}: {format_value(before.get(name))} → {format_value(value)}"
            for name, value in after.items()
            if before.get(name) != value
        )
        or "nothing"
    )


def write_audit_entry(
    connection: sqlite3.Connection, who: str, deed: str, about: object = ""
) -> None:
    """Add an entry in the transaction of the change: what was done (`deed`) to what (`about`)."""
    text = str(about)
    text = text if len(text) <= MAX_SUBJECT_CHARS else text[: MAX_SUBJECT_CHARS - 1] + "…"
    row = (time_ns() // 1000, who, deed, text)
    number = connection.execute(ADD_ENTRY_SQL, row).lastrowid
    assert number is not None
    connection.execute("DELETE FROM audit WHERE n <= ?", (number - MAX_AUDIT_ENTRIES,))


async def add_audit_entry(database: Database, who: str, deed: str, about: object = "") -> None:
    """Add an entry after a change that took several transactions."""
    await database.write(lambda connection: write_audit_entry(connection, who, deed, about))


async def list_audit_entries(
    database: Database, *, who: str | None = None, before: int | None = None, limit: int = 50
) -> tuple[list[AuditEntry], int | None]:
    """Return the newest entries below number `before`, and the next `before`; None at the end."""

    def job(connection: sqlite3.Connection) -> tuple[list[AuditEntry], int | None]:
        first = 2**63 - 1 if before is None else before
        rows = [
            AuditEntry(*row)
            for row in connection.execute(LIST_ENTRIES_SQL, (first, who, limit + 1))
        ]
        return rows[:limit], rows[limit - 1].n if len(rows) > limit else None

    return await database.read(job)
