"""Counts of received events by outcome, written in the commits of the events."""

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
    """Items of requests; received = stored + duplicate + rejected + refused."""

    received: int = 0
    stored: int = 0
    duplicate: int = 0
    rejected: int = 0  # invalid, or a different body for a known sender id
    refused: int = 0  # answered with 503: the queue or the disk was full

    def add(
        self, *, stored: int = 0, duplicate: int = 0, rejected: int = 0, refused: int = 0
    ) -> None:
        """Count received items by outcome."""
        self.received += stored + duplicate + rejected + refused
        self.stored += stored
        self.duplicate += duplicate
        self.rejected += rejected
        self.refused += refused

    def write(self, connection: sqlite3.Connection, last: int) -> "IngestCounts":
        """Add to the stored counts in the open transaction; return the new totals.

        `last` is the highest id so far.
        """
        return IngestCounts(*connection.execute(ADD_COUNTS_SQL, (*astuple(self), last)).fetchone())

    @classmethod
    def read(cls, connection: sqlite3.Connection) -> "IngestCounts":
        """Return the stored totals."""
        return cls(*connection.execute(READ_COUNTS_SQL).fetchone())
