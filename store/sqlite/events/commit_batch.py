"""What one commit of the log writes: the items of many requests, and what became of each."""

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
# The same after its id, the time when it was received, and its session's key.
FullEventRow = tuple[Any, ...]
# The id that holds the event, and what became of it: "stored"; "duplicate": the sender had sent
# it before, the id is the first one's; "conflict": it had sent another body then, likewise;
# "rejected": it cannot be stored; "gone": there is no such reject to replay.
AppendOutcome = tuple[int, str]

# Of a full row.
APP_INDEX, USER_INDEX, SENDER_INDEX, DIGEST_INDEX = 4, 6, 10, 11
EVENT_COLUMNS = (
    *("id", "received", "session_key"),
    *("source", "app", "session", "user", "category", "name", "at", "sender", "digest", "data"),
)
# Many rows a statement: each statement hands the interpreter's lock over and waits to have it
# back, which on a busy loop takes longer than writing the row does. Powers of two, so that any
# number of rows takes few of them.
ROWS_PER_STATEMENT = (256, 128, 64, 32, 16, 8, 4, 2, 1)


def _placeholders(columns: int, rows: int) -> str:
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)


class InsertStatements:
    """Statements for rows of which some columns are empty, and left out.

    For each None that it is given, Python's sqlite3 looks for an adapter, which takes ten times
    as long as to bind a number: half of what it costs to insert an event without user and sender.
    """

    def __init__(self, *empty: int) -> None:
        taken = [number for number in range(len(EVENT_COLUMNS)) if number not in empty]
        self.pick = itemgetter(*taken)
        names = ", ".join(EVENT_COLUMNS[number] for number in taken)
        # The conflict is named, so that another one, of ids, is an error.
        self.statements = {
            size: f"INSERT INTO event ({names}) VALUES {_placeholders(len(taken), size)} "  # noqa: S608
            "ON CONFLICT (app, sender) WHERE sender IS NOT NULL DO NOTHING"
            for size in ROWS_PER_STATEMENT
        }

    def run(self, connection: sqlite3.Connection, rows: Sequence[FullEventRow]) -> int:
        """Insert as many rows as there is a statement for; how many there was no conflict of."""
        if sum(map(len, rows)) != len(rows) * len(EVENT_COLUMNS):
            raise sqlite3.ProgrammingError("a row has more or fewer columns than the table")
        values = [*chain.from_iterable(map(self.pick, rows))]
        return connection.execute(self.statements[len(rows)], values).rowcount


# By whether some have a user, and whether some have a sender's id.
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
# Those that were sent with a sender's id whose event was blanked since.
ERASED_SENDERS_SQL = """
SELECT json_group_array(json_array(value ->> 0, forgotten.id, digest = value ->> 3))
FROM json_each(?) JOIN forgotten ON app = value ->> 1 AND sender = value ->> 2
"""
SENDER_CONFLICT_JSON = (
    '[{"pointer":"/sender_id","message":"another event came with this sender_id"}]'
)
ID_CONFLICT_JSON = msgspec.json.encode([CONVERSION_ID_CONFLICT]).decode()
UNSTORABLE_JSON = '[{"pointer":"","message":"this event cannot be stored"}]'
# Said of one of many, who all shall hear of theirs.
NOTIFY_FAILED_MESSAGE = "what became of a request could not be told"


class CommitWaiter(Protocol):
    """Whoever is to be told what became of a request's rows."""

    def settled(self, outcomes: list[AppendOutcome]) -> object:
        """They are on disk, each with its outcome."""

    def failed(self, error: Exception) -> object:
        """None of them is."""


class BatchEntry(msgspec.Struct, gc=False):
    """One request's rows, and who waits for them.

    `bodies` are the rows as they came, `counted` says whether they are in the counts.
    """

    ids: Sequence[int]
    rows: Sequence[EventRow]
    bodies: Sequence[bytes]
    received: int  # µs
    counted: bool
    waiter: CommitWaiter


def full_row(number: int, received: int, row: EventRow) -> FullEventRow:
    """A row as it is stored."""
    return (number, received, session_key(row[2])) + row  # noqa: RUF005 (half as dear)


class CommitBatch:
    """Filled on the loop while the commit before it runs, then written in one transaction."""

    def __init__(self) -> None:
        self.entries: list[BatchEntry] = []
        self.rows: list[FullEventRow] = []
        self.rejects: list[RejectedEventRow] = []
        self.replays: list[tuple[int, BatchEntry]] = []  # the id of a reject, and its event
        self.counts = IngestCounts()  # what they are if every row is stored
        self.last = 0  # the highest id
        self.cost = 0
        self.since = 0.0

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.cost or self.counts.received)

    def add(self, entry: BatchEntry) -> None:
        """Take a request's rows in."""
        self.entries.append(entry)
        rows, received = self.rows, entry.received
        for number, row in zip(entry.ids, entry.rows, strict=True):
            rows.append(full_row(number, received, row))

    def write(
        self, bounds: RejectedEventLimits, connection: sqlite3.Connection
    ) -> tuple[dict[int, AppendOutcome], IngestCounts]:
        """Write everything in the open transaction.

        The outcome of each row that was not stored, by the id that it had been given, and what
        the counts come to once this is committed.
        """
        total = replace(self.counts)
        lost = _store_rows(connection, self.rows)
        rejects = self.rejects
        if lost:
            rejects = rejects + [
                each for entry in self.entries for each in _rejected_of_entry(entry, lost)
            ]
            for entry in self.entries:
                if entry.counted:
                    _correct_counts(total, [lost[each][1] for each in entry.ids if each in lost])
        for reject, entry in self.replays:
            lost[entry.ids[0]] = _replay_rejected(connection, reject, entry, total)
        if rejects:
            store_rejected_events(connection, rejects, bounds)
        return lost, total.write(connection, self.last)

    def settle(self, lost: dict[int, AppendOutcome]) -> None:
        """Tell those who wait that it is on disk."""
        for entry in self._waiting():
            if lost:
                outcomes = [lost.get(each, (each, "stored")) for each in entry.ids]
            else:
                outcomes = [(each, "stored") for each in entry.ids]
            try:
                entry.waiter.settled(outcomes)
            except Exception:
                LOG.exception(NOTIFY_FAILED_MESSAGE)

    def fail(self, error: Exception) -> None:
        """Tell those who wait that nothing of it is on disk."""
        for entry in self._waiting():
            try:
                entry.waiter.failed(type(error)(str(error)))
            except Exception:
                LOG.exception(NOTIFY_FAILED_MESSAGE)

    def _waiting(self) -> Iterable[BatchEntry]:
        return chain(self.entries, (entry for _, entry in self.replays))


def sender_hash(sender: str) -> str:
    """What is kept of a sender's id when its event is blanked."""
    return hashlib.sha256(sender.encode(errors="surrogatepass")).hexdigest()


def _store_rows(
    connection: sqlite3.Connection, rows: Sequence[FullEventRow]
) -> dict[int, AppendOutcome]:
    """Insert the rows; the outcome of each that was not."""
    lost = _find_erased(connection, rows)
    if not lost:
        return _insert_rows(connection, rows)
    return lost | _insert_rows(connection, [row for row in rows if row[0] not in lost])


def _find_erased(
    connection: sqlite3.Connection, rows: Sequence[FullEventRow]
) -> dict[int, AppendOutcome]:
    sent = [row for row in rows if row[SENDER_INDEX] is not None]
    if not sent or not connection.execute("SELECT EXISTS (SELECT 1 FROM forgotten)").fetchone()[0]:
        return {}
    asked = [
        (
            row[0],
            row[APP_INDEX],
            sender_hash(row[SENDER_INDEX]),
            row[DIGEST_INDEX] and row[DIGEST_INDEX].hex(),
        )
        for row in sent
    ]
    found = connection.execute(
        ERASED_SENDERS_SQL, (msgspec.json.encode(asked).decode(),)
    ).fetchone()[0]
    return _decode_outcomes(found)


def _decode_outcomes(found: str) -> dict[int, AppendOutcome]:
    return {
        number: (first, "duplicate" if same else "conflict")
        for number, first, same in msgspec.json.decode(found)
    }


def _insert_rows(
    connection: sqlite3.Connection, rows: Sequence[FullEventRow]
) -> dict[int, AppendOutcome]:
    lost: dict[int, AppendOutcome] = {}
    users = any(row[USER_INDEX] is not None for row in rows)
    senders = any(row[SENDER_INDEX] is not None for row in rows)
    insert = INSERTS_BY_COLUMNS[users, senders]
    done = 0
    for size in ROWS_PER_STATEMENT:
        while len(rows) - done >= size:
            part = rows[done : done + size]
            done += size
            try:
                stored = insert.run(connection, part)
            except ROW_ERRORS as error:
                if not connection.in_transaction:  # it undid the others, too
                    raise
                lost |= _insert_each(connection, part, error)
                continue
            if stored < size:
                lost |= _find_conflicts(connection, part)
    return lost


def _insert_each(
    connection: sqlite3.Connection, rows: Sequence[FullEventRow], error: Exception
) -> dict[int, AppendOutcome]:
    if len(rows) > 1:
        return dict(chain.from_iterable(_insert_rows(connection, [row]).items() for row in rows))
    LOG.error("an event cannot be stored: %s", error)
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
    connection: sqlite3.Connection, reject: int, entry: BatchEntry, total: IngestCounts
) -> AppendOutcome:
    number = entry.ids[0]
    known = connection.execute("SELECT 1 FROM event_reject WHERE id = ?", (reject,)).fetchone()
    if known is None:
        return number, "gone"
    row = full_row(number, entry.received, entry.rows[0])
    outcome = _store_rows(connection, [row]).get(number, (number, "stored"))
    if outcome[1] in ("stored", "duplicate"):
        connection.execute("DELETE FROM event_reject WHERE id = ?", (reject,))
        total.rejected -= 1
        total.stored += outcome[1] == "stored"
        total.duplicate += outcome[1] == "duplicate"
    return outcome


def _rejected_of_entry(
    entry: BatchEntry, lost: dict[int, AppendOutcome]
) -> Iterable[RejectedEventRow]:
    reasons = {"conflict": SENDER_CONFLICT_JSON, "rejected": UNSTORABLE_JSON}
    for number, row, body in zip(entry.ids, entry.rows, entry.bodies, strict=False):
        verdict = lost.get(number, (0, ""))[1]
        reason = reasons.get(verdict)
        if verdict == "conflict" and has_conversion_id(row):
            reason = ID_CONFLICT_JSON
        if reason is not None:
            yield number, entry.received, row[1], body, reason


def _correct_counts(total: IngestCounts, verdicts: Sequence[str]) -> None:
    duplicate = verdicts.count("duplicate")
    total.stored -= len(verdicts)
    total.duplicate += duplicate
    total.rejected += len(verdicts) - duplicate
