"""Append events to an event log until killed, and record what was sent and acknowledged.

`python log_sender.py FOLDER TRANSCRIPT [FULL|NORMAL|EARLY] [EVENTS]`. With NORMAL commits are not
synced, with EARLY acknowledgements do not wait for the commit. The program ends after EVENTS
acknowledged events (0: never). It first prints the CPU seconds that opening the log took. It
appends a line `s KEY` per event to the file TRANSCRIPT before sending and `a KEY ID` after the
acknowledgement. A key is the event's session, and also its sender_id unless it ends in `-`.
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
    """Keys of the sent events in order, and the ids of the acknowledged ones."""

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
                    "an event has two ids"
                )

    def unacknowledged(self) -> list[str]:
        """Return the keys that a client would send again."""
        return [key for key in self.sent if key not in self.acknowledged and not key.endswith("-")]


def transcript_event(key: str) -> EventRow:
    sender = None if key.endswith("-") else key
    digest = None if sender is None else key.encode().rjust(32)[:32]
    data = f'{{"padding":"{"x" * (len(key) * 7919 % 400)}"}}'
    return 1, 1, key, None, "form interaction", "submit", 0, sender, digest, data


def count_missing(connection: sqlite3.Connection, transcript: SendTranscript) -> int:
    """Return how many acknowledged events the log lacks; raise AssertionError for other damage."""
    found = connection.execute("SELECT session, id FROM event WHERE source = 1").fetchall()
    stored_ids = dict(found)
    assert len(stored_ids) == len(found), "an event is stored twice"
    assert stored_ids.keys() <= transcript.sent.keys(), "an event was never sent"
    sql = "SELECT received, stored, duplicate, rejected, refused, last, rejects FROM log"
    received, stored, *other, last, rejects = connection.execute(sql).fetchone()
    assert received == stored + sum(other)
    assert stored == len(found)
    assert last >= max(stored_ids.values(), default=0)
    assert (rejects,) == connection.execute("SELECT count(*) FROM event_reject").fetchone()
    assert rejects == other[1]
    return sum(stored_ids.get(key) != number for key, number in transcript.acknowledged.items())


def insert_million_events(folder: Path) -> None:
    """Insert a million events into a log that no process has open."""
    connection = sqlite3.connect(folder / "marquee.db", isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(INSERT_MILLION_EVENTS)
    finally:
        connection.close()


async def send(
    log: EventLog,
    transcript_file: int,
    new_numbers: "itertools.count[int]",
    repeatable_keys: list[str],
    *,
    repeat: bool = True,
    on_acknowledged: Callable[[int], None] = lambda _: None,
) -> None:
    """Append batches of one or more events; with `repeat`, sometimes repeat an earlier event.

    `on_acknowledged` receives the number of acknowledged events.
    """
    while True:
        batch = [
            f"{os.getpid()}.{next(new_numbers)}" for _ in range(random.choice((1, 1, 1, 7, 40)))
        ]
        batch = [key + "-" * (random.random() < 0.3) for key in batch]
        if repeatable_keys and random.random() < 0.2:
            batch.append(repeatable_keys.pop())
        os.write(transcript_file, "".join(f"s {key}\n" for key in batch).encode())
        rejects = [(1, b"{", "[]")] * (random.random() < 0.2)
        outcomes = await log.append(
            [transcript_event(key) for key in batch], rejects, size=300 * len(batch)
        )
        acknowledged = zip(batch, outcomes, strict=True)
        os.write(
            transcript_file, "".join(f"a {key} {each[0]}\n" for key, each in acknowledged).encode()
        )
        assert all(verdict in ("stored", "duplicate") for _, verdict in outcomes)
        repeatable_keys += [key for key in batch[:1] if not key.endswith("-")] * repeat
        on_acknowledged(len(batch))


def acknowledge_early() -> None:
    """Acknowledge appends before they are on disk."""
    append = EventLog.append
    waiting: set[asyncio.Future[list[AppendOutcome]]] = set()

    def early(
        self: EventLog, rows: Sequence[EventRow], rejects: Sequence[Any] = (), **options: Any
    ) -> Any:
        stored = append(self, rows, rejects, **options)
        waiting.add(stored)
        stored.add_done_callback(waiting.discard)
        first = self.last_id - len(rows) - len(rejects) + 1
        outcomes: asyncio.Future[list[AppendOutcome]] = asyncio.get_running_loop().create_future()
        outcomes.get_loop().call_later(
            0.001, outcomes.set_result, [(first + n, "stored") for n in range(len(rows))]
        )
        return outcomes

    EventLog.append = early


async def main(folder: Path, path: Path, synchronous: str, events: int) -> None:
    def set_up(connection: sqlite3.Connection) -> None:
        set_up_writer(connection)
        connection.execute(f"PRAGMA synchronous = {synchronous}")

    early = synchronous == "EARLY"
    if early:
        acknowledge_early()
        synchronous = "FULL"
    set_up_writer = database._set_up_writer
    database._set_up_writer = set_up
    repeatable_keys = SendTranscript(path.read_text() if path.exists() else "").unacknowledged()
    transcript_file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    began = time.process_time()
    log = await EventLog.open(await database.Database.open(folder / "marquee.db"))
    print(f"{time.process_time() - began:.3f}", flush=True)
    new_numbers = itertools.count()
    acknowledged = 0

    def on_acknowledged(count: int) -> None:
        nonlocal acknowledged
        acknowledged += count
        if events and acknowledged >= events:
            os._exit(0)

    await asyncio.gather(
        *[
            send(
                log,
                transcript_file,
                new_numbers,
                repeatable_keys,
                repeat=not early,
                on_acknowledged=on_acknowledged,
            )
            for _ in range(SENDERS)
        ]
    )


if __name__ == "__main__":
    folder, path, synchronous, events = [*sys.argv[1:], "FULL", "0"][:4]
    asyncio.run(main(Path(folder), Path(path), synchronous, int(events)))
