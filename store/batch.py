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
Row = tuple[int, int, str | None, int | None, str, str, int, str | None, bytes | None, str | None]
# The id that holds the event, and what became of it: "stored"; "duplicate": the sender had sent
# it before, the id is the first one; "conflict": another body under the same sender's id, the id
# is that one's; "rejected": it cannot be stored; "gone": there is no such reject to replay.
Outcome = tuple[int, str]
Full = tuple[
    int, int, int, int, str | None, int | None, str, str, int, str | None, bytes | None, str | None
]

COLUMNS = "id, received, source, app, session, user, category, name, at, sender, digest, data"
APP, SENDER, DIGEST = 3, 9, 10
PLACES = f"({', '.join('?' * 12)})"
# By the conflict's name, so that another one, of ids, is an error.
ON_CONFLICT = "ON CONFLICT (app, sender) WHERE sender IS NOT NULL DO NOTHING"
# Many rows a statement: each statement hands the interpreter's lock over and waits to have it
# back, which on a busy loop takes longer than writing the row does.
INSERTS = {
    size: f"INSERT INTO event ({COLUMNS}) VALUES {', '.join([PLACES] * size)} {ON_CONFLICT}"  # noqa: S608
    for size in (64, 16, 4, 1)
}
FIND = "SELECT id, digest FROM event WHERE app = ? AND sender = ?"
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

    def full(self) -> list[Full]:
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
    plain = [entry.full() for entry in entries if entry.replays is None]
    lost = _insert(connection, list(chain.from_iterable(plain)))
    total = Counts(received=refused, refused=refused)
    rejects: list[rejected.Reject] = []
    for entry in entries:
        if entry.replays is not None:
            lost |= _replay(connection, entry, total)
            continue
        if entry.rejects:
            rejects += _rejects(entry)
        if lost:
            rejects += _wrong(entry, lost)
        if entry.counted:
            _count(entry, lost, total)
    if rejects:
        rejected.keep(connection, rejects, bounds, entries[-1].received)
    counts.add(connection, total, next((each.ids[-1] for each in reversed(entries) if each.ids), 0))
    return lost, total


def _insert(connection: sqlite3.Connection, rows: Sequence[Full]) -> dict[int, Outcome]:
    lost: dict[int, Outcome] = {}
    done = 0
    for size, statement in INSERTS.items():
        while len(rows) - done >= size:
            part = rows[done : done + size]
            done += size
            try:
                stored = connection.execute(statement, tuple(chain.from_iterable(part))).rowcount
            except rejected.OWN_FAULT as error:
                lost |= _insert_each(connection, part, error)
                continue
            if stored < size:
                lost |= _find(connection, part)
    return lost


def _insert_each(
    connection: sqlite3.Connection, rows: Sequence[Full], error: Exception
) -> dict[int, Outcome]:
    if len(rows) > 1:
        return dict(chain.from_iterable(_insert(connection, [row]).items() for row in rows))
    LOG.error("an event cannot be stored: %s", error)
    return {rows[0][0]: (rows[0][0], "rejected")}


def _find(connection: sqlite3.Connection, rows: Iterable[Full]) -> dict[int, Outcome]:
    lost: dict[int, Outcome] = {}
    for row in rows:
        if row[SENDER] is not None:
            first, digest = connection.execute(FIND, (row[APP], row[SENDER])).fetchone()
            if first != row[0]:
                lost[row[0]] = first, "duplicate" if digest == row[DIGEST] else "conflict"
    return lost


def _replay(connection: sqlite3.Connection, entry: Entry, total: Counts) -> dict[int, Outcome]:
    reject = (entry.replays,)
    if connection.execute("SELECT 1 FROM event_reject WHERE id = ?", reject).fetchone() is None:
        return {entry.ids[0]: (entry.ids[0], "gone")}
    lost = _insert(connection, entry.full())
    verdict = lost.get(entry.ids[0], (0, "stored"))[1]
    if verdict in ("stored", "duplicate"):
        connection.execute("DELETE FROM event_reject WHERE id = ?", reject)
        total.rejected -= 1
        total.stored += verdict == "stored"
        total.duplicate += verdict == "duplicate"
    return lost


def _rejects(entry: Entry) -> list[rejected.Reject]:
    ids = entry.ids[len(entry.rows) :]
    return [
        (number, entry.received, app, body, errors)
        for number, (app, body, errors) in zip(ids, entry.rejects, strict=True)
    ]


def _wrong(entry: Entry, lost: dict[int, Outcome]) -> list[rejected.Reject]:
    reasons = {"conflict": CONFLICT, "rejected": UNFIT}
    return [
        (number, entry.received, row[1], body, reasons[lost[number][1]])
        for number, row, body in zip(entry.ids, entry.rows, entry.bodies, strict=False)
        if number in lost and lost[number][1] in reasons
    ]


def _count(entry: Entry, lost: dict[int, Outcome], total: Counts) -> None:
    stored = len(entry.rows)
    if lost:
        for number in entry.ids[:stored]:
            if number in lost:
                stored -= 1
                if lost[number][1] == "duplicate":
                    total.duplicate += 1
                else:
                    total.rejected += 1
    total.received += len(entry.rows) + entry.rejected + entry.refused
    total.stored += stored
    total.rejected += entry.rejected
    total.refused += entry.refused
