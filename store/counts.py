"""What came in and what became of it, counted in the commits that it came with."""

import sqlite3
from dataclasses import astuple, dataclass

ADD = """
UPDATE log SET
    received = received + ?, stored = stored + ?, duplicate = duplicate + ?,
    rejected = rejected + ?, refused = refused + ?, last = max(last, ?)
"""


@dataclass(slots=True)
class Counts:
    """Items of requests; received = stored + duplicate + rejected + refused, always."""

    received: int = 0
    stored: int = 0
    duplicate: int = 0
    rejected: int = 0  # wrong, or another body under a sender's id that is taken
    refused: int = 0  # turned away with 503: the queue or the disk was full

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.received + other.received,
            self.stored + other.stored,
            self.duplicate + other.duplicate,
            self.rejected + other.rejected,
            self.refused + other.refused,
        )


def read(connection: sqlite3.Connection) -> Counts:
    """The counts as committed."""
    sql = "SELECT received, stored, duplicate, rejected, refused FROM log"
    return Counts(*connection.execute(sql).fetchone())


def add(connection: sqlite3.Connection, counts: Counts, last: int) -> None:
    """Add to the counts in the open transaction; `last` is the highest id given so far."""
    connection.execute(ADD, (*astuple(counts), last))
