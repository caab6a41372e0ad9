"""The rows of one commit of the event log, and the outcome of each."""

import hashlib
import logging
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain
from operator import itemgetter
from typing import Any, Protocol

import msgspec

from domain.banners.conversion import CONVERSION_ID_CONFLICT, has_conversion_id
from store.sqlite.events.ingest_counts import IngestCounts
from store.sqlite.events.rejected_event_store import (
    ROW_ERRORS,
    RejectedEventLimits,
    RejectedEventRow,
    store_rejected_events,
)
from store.sqlite.projections.session_key import session_key

LOG = logging.getLogger("marquee.log")

# source, app, session, user, category, name, at, sender, digest, data
EventRow = tuple[
    int, int, str | None, int | None, str, str, int, str | None, bytes | None, str | None
]
# id, time of receipt in µs and session key, followed by the columns of `EventRow`.
FullEventRow = tuple[Any, ...]
# The event's id, and "stored"; "duplicate": the id is that of an earlier event with the sender id;
# "conflict": likewise, with a different body; "rejected": the database cannot store the row;
# "gone": the rejected event to replay does not exist.
AppendOutcome = tuple[int, str]

# Indexes into a full row.
APP_INDEX, USER_INDEX, SENDER_INDEX, DIGEST_INDEX = 4, 6, 10, 11
EVENT_COLUMNS = (
    *("id", "received", "session_key"),
    *("source", "app", "session", "user", "category", "name", "at", "sender", "digest", "data"),
)
# Many rows per statement: each statement releases and reacquires the interpreter lock, which on a
# busy loop takes longer than writing a row. Powers of two keep the number of statements low.
ROWS_PER_STATEMENT = (256, 128, 64, 32, 16, 8, 4, 2, 1)


def _placeholders(columns: int, rows: int) -> str:
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)


class InsertStatements:
    """INSERT statements that leave out the columns that are None in all rows.

    Python's sqlite3 searches an adapter for each None, which takes ten times as long as binding a
    number: half of the cost of inserting an event without user and sender.
    """

    def __init__(self, *omitted: int) -> None:
        columns = [number for number in range(len(EVENT_COLUMNS)) if number not in omitted]
        self.select_columns = itemgetter(*columns)
        names = ", ".join(EVENT_COLUMNS[number] for number in columns)
        # With an explicit target, a conflict of ids is still an error.
        self.statements = {
            size: f"INSERT INTO event ({names}) VALUES {_placeholders(len(columns), size)} "  # noqa: S608
            "ON CONFLICT (app, sender) WHERE sender IS NOT NULL DO NOTHING"
            for size in ROWS_PER_STATEMENT
        }

    def run(self, connection: sqlite3.Connection, rows: Sequence[FullEventRow]) -> int:
        """Insert `rows`, a number in `ROWS_PER_STATEMENT`; return how many had no conflict."""
        if sum(map(len, rows)) != len(rows) * len(EVENT_COLUMNS):
            raise sqlite3.ProgrammingError("a row has more or fewer columns than the table")
        values = [*chain.from_iterable(map(self.select_columns, rows))]
        return connection.execute(self.statements[len(rows)], values).rowcount


# Keys: whether rows have a user, whether rows have a sender id.
INSERTS_BY_COLUMNS = {
    (False, False): InsertStatements(USER_INDEX, SENDER_INDEX, DIGEST_INDEX),
    (False, True): InsertStatements(USER_INDEX),
    (True, False): InsertStatements(SENDER_INDEX, DIGEST_INDEX),
    (True, True): InsertStatements(),
}
FIND_CONFLICTS_SQL = {
    size: f"WITH sent (id, app, sender, digest) AS (VALUES {_placeholders(4, size)}) "  # noqa: S608
    "SELECT json_group_array(json_array(sent.id, event.id, sent.digest IS event.digest)) "
    "FROM sent CROSS JOIN event ON event.app = sent.app AND event.sender = sent.sender "
    "WHERE event.id != sent.id"
    for size in ROWS_PER_STATEMENT
}
# Rows whose sender id belongs to an erased event.
ERASED_SENDERS_SQL = """
SELECT json_group_array(json_array(value ->> 0, forgotten.id, digest = value ->> 3))
FROM json_each(?) JOIN forgotten ON app = value ->> 1 AND sender = value ->> 2
"""
SENDER_CONFLICT_JSON = (
    '[{"pointer":"/sender_id","message":"another event came with this sender_id"}]'
)
ID_CONFLICT_JSON = msgspec.json.encode([CONVERSION_ID_CONFLICT]).decode()
UNSTORABLE_JSON = '[{"pointer":"","message":"this event cannot be stored"}]'
WAITER_FAILED_MESSAGE = "a waiter of a commit failed"


class CommitWaiter(Protocol):
    """Receives the outcome of a request's rows."""

    def settled(self, outcomes: list[AppendOutcome]) -> object:
        """Handle the outcomes of the rows, which are on disk."""

    def failed(self, error: Exception) -> object:
        """Handle the error; none of the rows is stored."""


class BatchEntry(msgspec.Struct, gc=False):
    """The rows of one request and their waiter.

    `bodies` are the original bodies of the rows, `counted` tells whether the counts include them.
    """

    ids: Sequence[int]
    rows: Sequence[EventRow]
    bodies: Sequence[bytes]
    received: int  # µs
    counted: bool
    waiter: CommitWaiter


def full_row(number: int, received: int, row: EventRow) -> FullEventRow:
    """Return a row with its id, time of receipt and session key."""
    return (number, received, session_key(row[2])) + row  # noqa: RUF005 (half the time)


class CommitBatch:
    """Collects rows on the loop during the previous commit, then writes them in one transaction."""

    def __init__(self) -> None:
        self.entries: list[BatchEntry] = []
        self.rows: list[FullEventRow] = []
        self.rejected: list[RejectedEventRow] = []
        self.replays: list[tuple[int, BatchEntry]] = []  # (id of a rejected event, its row)
        self.counts = IngestCounts()  # assuming that every row is stored
        self.last = 0  # highest id
        self.cost = 0
        self.since = 0.0

    def __bool__(self) -> bool:
        """Return whether there is anything to write."""
        return bool(self.cost or self.counts.received)

    def add(self, entry: BatchEntry) -> None:
        """Add a request's rows."""
        self.entries.append(entry)
        rows, received = self.rows, entry.received
        for number, row in zip(entry.ids, entry.rows, strict=True):
            rows.append(full_row(number, received, row))

    def write(
        self, limits: RejectedEventLimits, connection: sqlite3.Connection
    ) -> tuple[dict[int, AppendOutcome], IngestCounts]:
        """Write everything in the open transaction.

        Returns the outcomes of rows that were not stored by their assigned ids, and the new counts.
        """
        total = replace(self.counts)
        exceptions = _store_rows(connection, self.rows)
        rejected = self.rejected
        if exceptions:
            rejected = rejected + [
                row for entry in self.entries for row in _rejected_of_entry(entry, exceptions)
            ]
            for entry in self.entries:
                if entry.counted:
                    _correct_counts(
                        total, [exceptions[id_][1] for id_ in entry.ids if id_ in exceptions]
                    )
        for rejected_id, entry in self.replays:
            exceptions[entry.ids[0]] = _replay_rejected(connection, rejected_id, entry, total)
        if rejected:
            store_rejected_events(connection, rejected, limits)
        return exceptions, total.write(connection, self.last)

    def settle(self, exceptions: dict[int, AppendOutcome]) -> None:
        """Call all waiters after the commit; `exceptions` are the outcomes of rows not stored."""
        for entry in self._waiting():
            if exceptions:
                outcomes = [exceptions.get(id_, (id_, "stored")) for id_ in entry.ids]
            else:
                outcomes = [(id_, "stored") for id_ in entry.ids]
            try:
                entry.waiter.settled(outcomes)
            except Exception:  # the other waiters still need their outcomes
                LOG.exception(WAITER_FAILED_MESSAGE)

    def fail(self, error: Exception) -> None:
        """Call all waiters after a failed commit."""
        for entry in self._waiting():
            try:
                entry.waiter.failed(type(error)(str(error)))
            except Exception:  # the other waiters still need their outcomes
                LOG.exception(WAITER_FAILED_MESSAGE)

    def _waiting(self) -> Iterable[BatchEntry]:
        return chain(self.entries, (entry for _, entry in self.replays))


def sender_hash(sender: str) -> str:
    """Return the hash of a sender id that replaces it in an erased event."""
    return hashlib.sha256(sender.encode(errors="surrogatepass")).hexdigest()


def _store_rows(
    connection: sqlite3.Connection, rows: Sequence[FullEventRow]
) -> dict[int, AppendOutcome]:
    """Insert the rows; return the outcomes of rows that were not stored."""
    erased = _find_erased(connection, rows)
    if not erased:
        return _insert_rows(connection, rows)
    return erased | _insert_rows(connection, [row for row in rows if row[0] not in erased])


def _find_erased(
    connection: sqlite3.Connection, rows: Sequence[FullEventRow]
) -> dict[int, AppendOutcome]:
    with_sender = [row for row in rows if row[SENDER_INDEX] is not None]
    if (
        not with_sender
        or not connection.execute("SELECT EXISTS (SELECT 1 FROM forgotten)").fetchone()[0]
    ):
        return {}
    senders = [
        (
            row[0],
            row[APP_INDEX],
            sender_hash(row[SENDER_INDEX]),
            row[DIGEST_INDEX] and row[DIGEST_INDEX].hex(),
        )
        for row in with_sender
    ]
    matches = connection.execute(
        ERASED_SENDERS_SQL, (msgspec.json.encode(senders).decode(),)
    ).fetchone()[0]
    return _decode_outcomes(matches)


def _decode_outcomes(matches: str) -> dict[int, AppendOutcome]:
    return {
        number: (first, "duplicate" if is_equal else "conflict")
        for number, first, is_equal in msgspec.json.decode(matches)
    }


def _insert_rows(
    connection: sqlite3.Connection, rows: Sequence[FullEventRow]
) -> dict[int, AppendOutcome]:
    exceptions: dict[int, AppendOutcome] = {}
    has_users = any(row[USER_INDEX] is not None for row in rows)
    has_senders = any(row[SENDER_INDEX] is not None for row in rows)
    insert = INSERTS_BY_COLUMNS[has_users, has_senders]
    done = 0
    for size in ROWS_PER_STATEMENT:
        while len(rows) - done >= size:
            part = rows[done : done + size]
            done += size
            try:
                stored = insert.run(connection, part)
            except ROW_ERRORS as error:
                if not connection.in_transaction:  # the error rolled back all rows
                    raise
                exceptions |= _insert_each(connection, part, error)
                continue
            if stored < size:
                exceptions |= _find_conflicts(connection, part)
    return exceptions


def _insert_each(
    connection: sqlite3.Connection, rows: Sequence[FullEventRow], error: Exception
) -> dict[int, AppendOutcome]:
    if len(rows) > 1:
        return dict(chain.from_iterable(_insert_rows(connection, [row]).items() for row in rows))
    LOG.error("cannot store an event: %s", error)
    number = rows[0][0]
    return {number: (number, "rejected")}


def _find_conflicts(
    connection: sqlite3.Connection, rows: Sequence[FullEventRow]
) -> dict[int, AppendOutcome]:
    sent = chain.from_iterable(
        (row[0], row[APP_INDEX], row[SENDER_INDEX], row[DIGEST_INDEX]) for row in rows
    )
    return _decode_outcomes(
        connection.execute(FIND_CONFLICTS_SQL[len(rows)], [*sent]).fetchone()[0]
    )


def _replay_rejected(
    connection: sqlite3.Connection, rejected_id: int, entry: BatchEntry, total: IngestCounts
) -> AppendOutcome:
    number = entry.ids[0]
    sql = "SELECT 1 FROM event_reject WHERE id = ?"
    if connection.execute(sql, (rejected_id,)).fetchone() is None:
        return number, "gone"
    row = full_row(number, entry.received, entry.rows[0])
    outcome = _store_rows(connection, [row]).get(number, (number, "stored"))
    if outcome[1] in ("stored", "duplicate"):
        connection.execute("DELETE FROM event_reject WHERE id = ?", (rejected_id,))
        total.rejected -= 1
        total.stored += outcome[1] == "stored"
        total.duplicate += outcome[1] == "duplicate"
    return outcome


def _rejected_of_entry(
    entry: BatchEntry, exceptions: dict[int, AppendOutcome]
) -> Iterable[RejectedEventRow]:
    reasons = {"conflict": SENDER_CONFLICT_JSON, "rejected": UNSTORABLE_JSON}
    for number, row, body in zip(entry.ids, entry.rows, entry.bodies, strict=False):
        outcome = exceptions.get(number, (0, ""))[1]
        reason = reasons.get(outcome)
        if outcome == "conflict" and has_conversion_id(row):
            reason = ID_CONFLICT_JSON
        if reason is not None:
            yield number, entry.received, row[1], body, reason


def _correct_counts(total: IngestCounts, outcomes: Sequence[str]) -> None:
    """Correct `total`, which counts rows with these outcomes as stored."""
    duplicate = outcomes.count("duplicate")
    total.stored -= len(outcomes)
    total.duplicate += duplicate
    total.rejected += len(outcomes) - duplicate
