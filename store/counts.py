"""What came in and what became of it, counted in the commits that it came with."""

import sqlite3
from dataclasses import astuple, dataclass, fields

# One statement, so one hand-over of the interpreter's lock.
ADD = """
UPDATE counter SET value = value + CASE name
    WHEN 'events received' THEN ?1 WHEN 'events stored' THEN ?2 WHEN 'events duplicate' THEN ?3
    WHEN 'events rejected' THEN ?4 ELSE ?5 END
WHERE name IN (
    'events received', 'events stored', 'events duplicate', 'events rejected', 'events refused'
)
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
    return Counts(
        *[
            connection.execute(
                "SELECT value FROM counter WHERE name = ?", (f"events {field.name}",)
            ).fetchone()[0]
            for field in fields(Counts)
        ]
    )


def add(connection: sqlite3.Connection, counts: Counts) -> None:
    """Add to the counts in the transaction that is open."""
    connection.execute(ADD, astuple(counts))
