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

from rules.conversion import ID_CONFLICT, has_own_id
from store.counts import Counts
from store.rejected import OWN_FAULT, Bounds, Reject, keep
from store.sessions import session_key

LOG = logging.getLogger("marquee.log")

# source, app, session, user, category, name, at, sender, digest, data
Row = tuple[int, int, str | None, int | None, str, str, int, str | None, bytes | None, str | None]
# The same after its id, the time when it was received, and its session's key.
Full = tuple[Any, ...]
# The id that holds the event, and what became of it: "stored"; "duplicate": the sender had sent
# it before, the id is the first one's; "conflict": it had sent another body then, likewise;
# "rejected": it cannot be stored; "gone": there is no such reject to replay.
Outcome = tuple[int, str]

# Of a full row.
APP, USER, SENDER, DIGEST = 4, 6, 10, 11
COLUMNS = (
    *("id", "received", "session_key"),
    *("source", "app", "session", "user", "category", "name", "at", "sender", "digest", "data"),
)
# Many rows a statement: each statement hands the interpreter's lock over and waits to have it
# back, which on a busy loop takes longer than writing the row does. Powers of two, so that any
# number of rows takes few of them.
SIZES = (256, 128, 64, 32, 16, 8, 4, 2, 1)


def _values(columns: int, rows: int) -> str:
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)


class Insert:
    """Statements for rows of which some columns are empty, and left out.

    For each None that it is given, Python's sqlite3 looks for an adapter, which takes ten times
    as long as to bind a number: half of what it costs to insert an event without user and sender.
    """

    def __init__(self, *empty: int) -> None:
        taken = [number for number in range(len(COLUMNS)) if number not in empty]
        self.pick = itemgetter(*taken)
        names = ", ".join(COLUMNS[number] for number in taken)
        # The conflict is named, so that another one, of ids, is an error.
        self.statements = {
            size: f"INSERT INTO event ({names}) VALUES {_values(len(taken), size)} "  # noqa: S608
            "ON CONFLICT (app, sender) WHERE sender IS NOT NULL DO NOTHING"
            for size in SIZES
        }

    def run(self, connection: sqlite3.Connection, rows: Sequence[Full]) -> int:
        """Insert as many rows as there is a statement for; how many there was no conflict of."""
        if sum(map(len, rows)) != len(rows) * len(COLUMNS):
            raise sqlite3.ProgrammingError("a row has more or fewer columns than the table")
        values = [*chain.from_iterable(map(self.pick, rows))]
        return connection.execute(self.statements[len(rows)], values).rowcount


# By whether some have a user, and whether some have a sender's id.
INSERTS = {
    (False, False): Insert(USER, SENDER, DIGEST),
    (False, True): Insert(USER),
    (True, False): Insert(SENDER, DIGEST),
    (True, True): Insert(),
}
FIND = {
    size: f"WITH sent (id, app, sender, digest) AS (VALUES {_values(4, size)}) "  # noqa: S608
    "SELECT json_group_array(json_array(sent.id, event.id, sent.digest IS event.digest)) "
    "FROM sent CROSS JOIN event ON event.app = sent.app AND event.sender = sent.sender "
    "WHERE event.id != sent.id"
    for size in SIZES
}
# Those that were sent with a sender's id whose event was blanked since (store/changes.py).
FORGOTTEN = """
SELECT json_group_array(json_array(value ->> 0, forgotten.id, digest = value ->> 3))
FROM json_each(?) JOIN forgotten ON app = value ->> 1 AND sender = value ->> 2
"""
CONFLICT = '[{"pointer":"/sender_id","message":"another event came with this sender_id"}]'
ID_CONFLICT_TOLD = msgspec.json.encode([ID_CONFLICT]).decode()
UNFIT = '[{"pointer":"","message":"this event cannot be stored"}]'
# Said of one of many, who all shall hear of theirs.
UNTOLD = "what became of a request could not be told"


class Waiter(Protocol):
    """Whoever is to be told what became of a request's rows."""

    def settled(self, outcomes: list[Outcome]) -> object:
        """They are on disk, each with its outcome."""

    def failed(self, error: Exception) -> object:
        """None of them is."""


class Entry(msgspec.Struct, gc=False):
    """One request's rows, and who waits for them.

    `bodies` are the rows as they came, `counted` says whether they are in the counts.
    """

    ids: Sequence[int]
    rows: Sequence[Row]
    bodies: Sequence[bytes]
    received: int  # µs
    counted: bool
    waiter: Waiter


def full(number: int, received: int, row: Row) -> Full:
    """A row as it is stored."""
    return (number, received, session_key(row[2])) + row  # noqa: RUF005 (half as dear)


class Batch:
    """Filled on the loop while the commit before it runs, then written in one transaction."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.rows: list[Full] = []
        self.rejects: list[Reject] = []
        self.replays: list[tuple[int, Entry]] = []  # the id of a reject, and its event
        self.counts = Counts()  # what they are if every row is stored
        self.last = 0  # the highest id
        self.cost = 0
        self.since = 0.0

    def __bool__(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.cost or self.counts.received)

    def add(self, entry: Entry) -> None:
        """Take a request's rows in."""
        self.entries.append(entry)
        rows, received = self.rows, entry.received
        for number, row in zip(entry.ids, entry.rows, strict=True):
            rows.append(full(number, received, row))

    def write(
        self, bounds: Bounds, connection: sqlite3.Connection
    ) -> tuple[dict[int, Outcome], Counts]:
        """Write everything in the open transaction.

        The outcome of each row that was not stored, by the id that it had been given, and what
        the counts come to once this is committed.
        """
        total = replace(self.counts)
        lost = _store(connection, self.rows)
        rejects = self.rejects
        if lost:
            rejects = rejects + [each for entry in self.entries for each in _wrong(entry, lost)]
            for entry in self.entries:
                if entry.counted:
                    _take_back(total, [lost[each][1] for each in entry.ids if each in lost])
        for reject, entry in self.replays:
            lost[entry.ids[0]] = _replay(connection, reject, entry, total)
        if rejects:
            keep(connection, rejects, bounds)
        return lost, total.write(connection, self.last)

    def settle(self, lost: dict[int, Outcome]) -> None:
        """Tell those who wait that it is on disk."""
        for entry in self._waiting():
            if lost:
                outcomes = [lost.get(each, (each, "stored")) for each in entry.ids]
            else:
                outcomes = [(each, "stored") for each in entry.ids]
            try:
                entry.waiter.settled(outcomes)
            except Exception:
                LOG.exception(UNTOLD)

    def fail(self, error: Exception) -> None:
        """Tell those who wait that nothing of it is on disk."""
        for entry in self._waiting():
            try:
                entry.waiter.failed(type(error)(str(error)))
            except Exception:
                LOG.exception(UNTOLD)

    def _waiting(self) -> Iterable[Entry]:
        return chain(self.entries, (entry for _, entry in self.replays))


def sender_hash(sender: str) -> str:
    """What is kept of a sender's id when its event is blanked."""
    return hashlib.sha256(sender.encode(errors="surrogatepass")).hexdigest()


def _store(connection: sqlite3.Connection, rows: Sequence[Full]) -> dict[int, Outcome]:
    """Insert the rows; the outcome of each that was not."""
    lost = _forgotten(connection, rows)
    if not lost:
        return _insert(connection, rows)
    return lost | _insert(connection, [row for row in rows if row[0] not in lost])


def _forgotten(connection: sqlite3.Connection, rows: Sequence[Full]) -> dict[int, Outcome]:
    sent = [row for row in rows if row[SENDER] is not None]
    if not sent or not connection.execute("SELECT EXISTS (SELECT 1 FROM forgotten)").fetchone()[0]:
        return {}
    asked = [
        (row[0], row[APP], sender_hash(row[SENDER]), row[DIGEST] and row[DIGEST].hex())
        for row in sent
    ]
    found = connection.execute(FORGOTTEN, (msgspec.json.encode(asked).decode(),)).fetchone()[0]
    return _outcomes(found)


def _outcomes(found: str) -> dict[int, Outcome]:
    return {
        number: (first, "duplicate" if same else "conflict")
        for number, first, same in msgspec.json.decode(found)
    }


def _insert(connection: sqlite3.Connection, rows: Sequence[Full]) -> dict[int, Outcome]:
    lost: dict[int, Outcome] = {}
    users = any(row[USER] is not None for row in rows)
    senders = any(row[SENDER] is not None for row in rows)
    insert = INSERTS[users, senders]
    done = 0
    for size in SIZES:
        while len(rows) - done >= size:
            part = rows[done : done + size]
            done += size
            try:
                stored = insert.run(connection, part)
            except OWN_FAULT as error:
                if not connection.in_transaction:  # it undid the others, too
                    raise
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
    number = rows[0][0]
    return {number: (number, "rejected")}


def _find(connection: sqlite3.Connection, rows: Sequence[Full]) -> dict[int, Outcome]:
    sent = chain.from_iterable((row[0], row[APP], row[SENDER], row[DIGEST]) for row in rows)
    return _outcomes(connection.execute(FIND[len(rows)], [*sent]).fetchone()[0])


def _replay(connection: sqlite3.Connection, reject: int, entry: Entry, total: Counts) -> Outcome:
    number = entry.ids[0]
    known = connection.execute("SELECT 1 FROM event_reject WHERE id = ?", (reject,)).fetchone()
    if known is None:
        return number, "gone"
    row = full(number, entry.received, entry.rows[0])
    outcome = _store(connection, [row]).get(number, (number, "stored"))
    if outcome[1] in ("stored", "duplicate"):
        connection.execute("DELETE FROM event_reject WHERE id = ?", (reject,))
        total.rejected -= 1
        total.stored += outcome[1] == "stored"
        total.duplicate += outcome[1] == "duplicate"
    return outcome


def _wrong(entry: Entry, lost: dict[int, Outcome]) -> Iterable[Reject]:
    reasons = {"conflict": CONFLICT, "rejected": UNFIT}
    for number, row, body in zip(entry.ids, entry.rows, entry.bodies, strict=False):
        verdict = lost.get(number, (0, ""))[1]
        reason = reasons.get(verdict)
        if verdict == "conflict" and has_own_id(row):
            reason = ID_CONFLICT_TOLD
        if reason is not None:
            yield number, entry.received, row[1], body, reason


def _take_back(total: Counts, verdicts: Sequence[str]) -> None:
    duplicate = verdicts.count("duplicate")
    total.stored -= len(verdicts)
    total.duplicate += duplicate
    total.rejected += len(verdicts) - duplicate
