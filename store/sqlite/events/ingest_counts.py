"""What came in and what became of it, counted in the commits that it came with."""

import sqlite3
from dataclasses import astuple, dataclass

ADD_COUNTS_SQL = """
UPDATE log SET
    received = received + ?, stored = stored + ?, duplicate = duplicate + ?,
    rejected = rejected + ?, refused = refused + ?, last = max(last, ?)
RETURNING received, stored, duplicate, rejected, refused
"""
READ_COUNTS_SQL = "SELECT received, stored, duplicate, rejected, refused FROM log"


@dataclass(slots=True)
class IngestCounts:
    """Items of requests; received = stored + duplicate + rejected + refused, always."""

    received: int = 0
    stored: int = 0
    duplicate: int = 0
    rejected: int = 0  # wrong, or another body under a sender's id that is taken
    refused: int = 0  # turned away with 503: the queue or the disk was full

    def add(
        self, *, stored: int = 0, duplicate: int = 0, rejected: int = 0, refused: int = 0
    ) -> None:
        """Count items that came in, by what became of them."""
        self.received += stored + duplicate + rejected + refused
        self.stored += stored
        self.duplicate += duplicate
        self.rejected += rejected
        self.refused += refused

    def write(self, connection: sqlite3.Connection, last: int) -> "IngestCounts":
        """Add these in the open transaction; what they come to then.

        `last` is the highest id given so far.
        """
        return IngestCounts(*connection.execute(ADD_COUNTS_SQL, (*astuple(self), last)).fetchone())

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> "IngestCounts":
        """The counts as committed."""
        return cls(*connection.execute(READ_COUNTS_SQL).fetchone())
