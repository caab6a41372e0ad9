"""A program that appends to a log until it is ended, and tells what it sent and what was acked.

python log_sender.py FOLDER LINES [FULL|NORMAL|EARLY] [EVENTS]: with NORMAL commits are not synced,
with EARLY acknowledgements do not wait for them. It ends once EVENTS events are acknowledged, if
that is not 0; what it prints first is the CPU seconds that it took to open the log. LINES is a
file to which it adds a line before each append (`s KEY`) and one after each acknowledgement
(`a KEY ID`). A key stands in the event's session, and is its sender's id too unless it ends in a
`-`.
"""

import asyncio
import itertools
import os
import random
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from store.sqlite.core import database
from store.sqlite.events.commit_batch import AppendOutcome, EventRow
from store.sqlite.events.event_log import EventLog

SENDERS = 24
INSERT_MILLION_EVENTS = """
WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1000000)
INSERT INTO event SELECT
    (1700000000000 << 22) + n, 1, 1, printf('%036d', n % 20000), n % 20000, NULL,
    'page interaction', 'pageview', n, n, printf('%036d', n), zeroblob(32),
    '{"host":"example.com","path":"/"}'
FROM n
"""


class SendTranscript:
    """What was sent, in that order, and the ids of what was acknowledged."""

    def __init__(self, lines: str = "") -> None:
        self.sent: dict[str, None] = {}
        self.acknowledged: dict[str, int] = {}
        self.add(lines)

    def add(self, lines: str) -> None:
        for line in lines.splitlines():
            kind, key, *number = line.split()
            if kind == "s":
                self.sent[key] = None
            else:
                assert self.acknowledged.setdefault(key, int(number[0])) == int(number[0]), (
                    "two ids"
                )

    def unacknowledged(self) -> list[str]:
        """What a client would send again."""
        return [key for key in self.sent if key not in self.acknowledged and not key.endswith("-")]


def transcript_event(key: str) -> EventRow:
    sender = None if key.endswith("-") else key
    digest = None if sender is None else key.encode().rjust(32)[:32]
    data = f'{{"padding":"{"x" * (len(key) * 7919 % 400)}"}}'
    return 1, 1, key, None, "form interaction", "submit", 0, sender, digest, data


def count_missing(connection: sqlite3.Connection, told: SendTranscript) -> int:
    """How many acknowledged events of apps a log lacks; nothing else may be wrong with it."""
    found = connection.execute("SELECT session, id FROM event WHERE source = 1").fetchall()
    kept = dict(found)
    assert len(kept) == len(found), "twice"
    assert kept.keys() <= told.sent.keys(), "never sent"
    sql = "SELECT received, stored, duplicate, rejected, refused, last, rejects FROM log"
    received, stored, *other, last, rejects = connection.execute(sql).fetchone()
    assert received == stored + sum(other)
    assert stored == len(found)
    assert last >= max(kept.values(), default=0)
    assert (rejects,) == connection.execute("SELECT count(*) FROM event_reject").fetchone()
    assert rejects == other[1]
    return sum(kept.get(key) != number for key, number in told.acknowledged.items())


def insert_million_events(folder: Path) -> None:
    """Add a million events to a log that no program has open."""
    connection = sqlite3.connect(folder / "marquee.db", isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(INSERT_MILLION_EVENTS)
    finally:
        connection.close()


async def send(
    log: EventLog,
    lines: int,
    fresh: "itertools.count[int]",
    again: list[str],
    *,
    repeat: bool = True,
    done: Callable[[int], None] = lambda _: None,
) -> None:
    """Append requests of one event or several; now and then, if `repeat`, one sent before.

    `done` is called with the number of events that were acknowledged.
    """
    while True:
        batch = [f"{os.getpid()}.{next(fresh)}" for _ in range(random.choice((1, 1, 1, 7, 40)))]
        batch = [key + "-" * (random.random() < 0.3) for key in batch]
        if again and random.random() < 0.2:
            batch.append(again.pop())
        os.write(lines, "".join(f"s {key}\n" for key in batch).encode())
        rejects = [(1, b"{", "[]")] * (random.random() < 0.2)
        outcomes = await log.append(
            [transcript_event(key) for key in batch], rejects, size=300 * len(batch)
        )
        acked = zip(batch, outcomes, strict=True)
        os.write(lines, "".join(f"a {key} {each[0]}\n" for key, each in acked).encode())
        assert all(verdict in ("stored", "duplicate") for _, verdict in outcomes)
        again += [key for key in batch[:1] if not key.endswith("-")] * repeat
        done(len(batch))


def acknowledge_early() -> None:
    """Have appends be answered before they are on disk."""
    append = EventLog.append
    waiting: set[asyncio.Future[list[AppendOutcome]]] = set()

    def early(
        self: EventLog, rows: Sequence[EventRow], rejects: Sequence[Any] = (), **more: Any
    ) -> Any:
        stored = append(self, rows, rejects, **more)
        waiting.add(stored)
        stored.add_done_callback(waiting.discard)
        first = self.last - len(rows) - len(rejects) + 1
        told: asyncio.Future[list[AppendOutcome]] = asyncio.get_running_loop().create_future()
        told.get_loop().call_later(
            0.001, told.set_result, [(first + n, "stored") for n in range(len(rows))]
        )
        return told

    EventLog.append = early  # type: ignore[method-assign]


async def main(folder: Path, path: Path, synchronous: str, events: int) -> None:
    def set_up(connection: sqlite3.Connection) -> None:
        original(connection)
        connection.execute(f"PRAGMA synchronous = {synchronous}")

    early = synchronous == "EARLY"
    if early:
        acknowledge_early()
        synchronous = "FULL"
    original = database._set_up_writer
    database._set_up_writer = set_up
    again = SendTranscript(path.read_text() if path.exists() else "").unacknowledged()
    lines = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    began = time.process_time()
    log = await EventLog.open(await database.Database.open(folder / "marquee.db"))
    print(f"{time.process_time() - began:.3f}", flush=True)
    fresh = itertools.count()
    acked = 0

    def done(count: int) -> None:
        nonlocal acked
        acked += count
        if events and acked >= events:
            os._exit(0)

    await asyncio.gather(
        *[send(log, lines, fresh, again, repeat=not early, done=done) for _ in range(SENDERS)]
    )


if __name__ == "__main__":
    folder, path, synchronous, events = [*sys.argv[1:], "FULL", "0"][:4]
    asyncio.run(main(Path(folder), Path(path), synchronous, int(events)))
