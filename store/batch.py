"""What one commit of the log writes: the rows of many requests, and what became of each."""

import asyncio
import logging
import sqlite3
from collections.abc import Iterable, Sequence
from itertools import chain

from store import counts, rejected
from store.counts import Counts

LOG = logging.getLogger("marquee.log")

# source, app, session, user, category, name, at, sender, digest, data
Row = tuple[
    int, int, str | None, int | None, str, str, int, str | None, bytes | None, str | None
]
# The id that holds the event, and what became of it: "stored"; "duplicate": the sender had sent
# it before, the id is the first one; "conflict": another body under the same sender's id, the id
# is that one's; "rejected": it cannot be stored; "gone": there is no such reject to replay.
Outcome = tuple[int, str]
Full = tuple[int, int, int, int, str | None, int | None, str, str, int, str | None, bytes | None, str | None]

COLUMNS = (
    "id, received, source, app, session, user, category, name, at, sender, digest, data"
)
APP, SENDER, DIGEST = 3, 9, 10
PLACES = f"({', '.join('?' * 12)})"
# By the conflict's name, so that another one, of ids, is an error.
ON_CONFLICT = "ON CONFLICT (app, sender) WHERE sender IS NOT NULL DO NOTHING"
# Many rows a statement: each statement hands the interpreter's lock over and waits to have it
# back, which on a busy loop takes longer than writing the row does.
INSERTS = {
    size: f"INSERT INTO event ({COLUMNS}) VALUES {', '.join([PLACES] * size)} {ON_CONFLICT}"
    for size in (64, 16, 4, 1)
}
FIND = "SELECT id, digest FROM event WHERE app = ? AND sender = ?"
LAST = "UPDATE counter SET value = ? WHERE name = 'events last id'"
CONFLICT = '[{"pointer":"/sender_id","message":"this sender_id came with another body"}]'
UNFIT = '[{"pointer":"","message":"this event cannot be stored"}]'


class Entry:
    """One request's items, and the future that tells what became of them."""

    __slots__ = (
        "bodies", "cost", "counted", "future", "ids", "received",
        "refused", "rejected", "rejects", "replays", "rows", "since",
    )  # fmt: skip

    ids: Sequence[int]  # of the rows, then of the rejects
    rows: Sequence[Row]
    bodies: Sequence[bytes]
    rejects: Sequence[tuple[int, bytes, str]]
    received: int
    rejected: int
    refused: int
    counted: bool
    replays: int | None
    cost: int
    since: float
    future: asyncio.Future[list[Outcome]]

    def full(self) -> Iterable[Full]:
        """The rows as they are stored."""
        received = self.received
        return [(number, received, *row) for number, row in zip(self.ids, self.rows, strict=False)]


def append(
    connection: sqlite3.Connection, entries: Sequence[Entry], refused: int, bounds: rejected.Bounds
) -> tuple[dict[int, Outcome], Counts]:
    """Write what the entries hold, in the open transaction.

    The outcome of each row that was not stored, by the id that it had been given; and what to
    add to the counts once this is committed.
    """
    lost = _insert(
        connection,
        list(chain.from_iterable(entry.full() for entry in entries if entry.replays is None)),
    )
    total = Counts(received=refused, refused=refused)
    rejects: list[rejected.Reject] = []
    for entry in entries:
        if entry.replays is not None:
            lost |= _replay(connection, entry, total)
            continue
        if lost:
            rejects += _wrong(entry, lost)
        if entry.rejects:
            ids = entry.ids[len(entry.rows) :]
            rejects += [
                (number, entry.received, app, body, errors)
                for number, (app, body, errors) in zip(ids, entry.rejects, strict=True)
            ]
        if entry.counted:
            _count(entry, lost, total)
    if rejects:
        rejected.keep(connection, rejects, bounds, entries[-1].received)
    counts.add(connection, total)
    if entries:
        connection.execute(LAST, (max(entry.ids[-1] for entry in entries if entry.ids),))
    return lost, total
