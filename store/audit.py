"""What owners changed: who, when, what; never a secret. The newest entries are kept."""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from time import time_ns

from store.database import Database

KEPT = 100_000
# Maximum characters of an entry's subject, and of one value in it.
LONGEST, LONGEST_VALUE = 500, 120
ADD = "INSERT INTO audit (at, who, deed, about) VALUES (?, ?, ?, ?)"
LIST = """
SELECT n, at, who, deed, about FROM audit WHERE n < ? AND who = coalesce(?, who)
ORDER BY n DESC LIMIT ?
"""


@dataclass(frozen=True)
class Entry:
    """One change; `at` in µs."""

    n: int
    at: int
    who: str
    deed: str
    about: str


def value(said: object) -> str:
    """Return a value as text for an entry: short, and never empty."""
    if isinstance(said, bool):
        return "yes" if said else "no"
    if isinstance(said, list | tuple):
        said = ", ".join(map(str, said))
    text = str(said) if said not in (None, "") else "none"
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def changes(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    """Return the values that differ, as `name: before → after`; "nothing" if none do."""
    return (
        "; ".join(
            f"{name}: {value(before.get(name))} → {value(each)}"
            for name, each in after.items()
            if before.get(name) != each
        )
        or "nothing"
    )


def note(connection: sqlite3.Connection, who: str, deed: str, about: object = "") -> None:
    """Enter a change in the transaction that makes it; `deed` says it, `about` of what."""
    text = str(about)
    text = text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
    row = (time_ns() // 1000, who, deed, text)
    number = connection.execute(ADD, row).lastrowid
    assert number is not None
    connection.execute("DELETE FROM audit WHERE n <= ?", (number - KEPT,))


async def add(database: Database, who: str, deed: str, about: object = "") -> None:
    """Enter a change that took more than one transaction, when it is done."""
    await database.write(lambda connection: note(connection, who, deed, about))


async def entries(
    database: Database, *, who: str | None = None, before: int | None = None, limit: int = 50
) -> tuple[list[Entry], int | None]:
    """The newest changes below number `before`, and where to go on; None at the end."""

    def job(connection: sqlite3.Connection) -> tuple[list[Entry], int | None]:
        first = 2**63 - 1 if before is None else before
        rows = [Entry(*row) for row in connection.execute(LIST, (first, who, limit + 1))]
        return rows[:limit], rows[limit - 1].n if len(rows) > limit else None

    return await database.read(job)
