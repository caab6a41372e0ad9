"""Daily users: story events of many users in one day, sent through the API, one a request.

The server is killed on the way; what was not acknowledged is sent again. Then the users must be
counted exactly, as fast as ten are, `rebuild` must come to the same, and what the views hold of
each user is told. Minutes.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import uvloop
from contest import LOAD, ROOT, Running, files, ours
from report import Promise, options, report

DAY, TEN = "2026-01-15", "2026-01-14"
APP, STORIES = "token_1", 3
ASKED = 300
# Two events that follow each other are of users so far apart; it shares no factor with any number
# of users that divides by 2, 3 and 5 alone.
STRIDE = 7_919
BYTES, SLOWER = 40, 1.25
KILLS = (0.3, 0.7)  # when these parts of the events are acknowledged
USER_TABLES = ("user_days", "active")


class Todo:
    """Events to be acknowledged; what has been sent and is not may have been stored or not."""

    def __init__(self, events: int, users: int, day: str) -> None:
        self.events = events
        self.acknowledged = 0
        self.sent = 0
        self._users = users
        self._day = day
        self._again: list[int] = []  # sent, and not acknowledged

    def next(self) -> int | None:
        """The number of an event to send, None if there is none just now."""
        if self._again:
            return self._again.pop()
        if self.sent >= self.events:
            return None
        self.sent += 1
        return self.sent - 1

    def again(self, number: int) -> None:
        """An event whose answer did not come."""
        self._again.append(number)

    def request(self, number: int) -> bytes:
        """An event as it is sent."""
        second, user = number % 86_400, number * STRIDE % self._users
        body = (
            f'{{"story_id": {1 + number % STORIES}, "event_type": "impression", '
            f'"user_id": "user-{user:09}-of-the-app", "timestamp": "{self._day} '
            f'{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"}}'
        )
        return (
            f"POST /api/v1/event/{APP} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


class Sender(asyncio.Protocol):
    """Sends one event after the other until so many are acknowledged, in all."""

    def __init__(self, todo: Todo, until: int, done: asyncio.Event) -> None:
        self._todo, self._until, self._done = todo, until, done
        self._number: int | None = None
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._send()

    def data_received(self, data: bytes) -> None:
        """An answer, or some of it; what is none of ours ends it all."""
        self._got += data
        if not self._got.endswith(b'"}'):
            return
        if not self._got.startswith(b"HTTP/1.1 202 "):
            raise SystemExit(f"not taken: {self._got!r}")
        self._got, self._number = b"", None
        self._todo.acknowledged += 1
        if self._todo.acknowledged >= self._until:
            self._done.set()
        elif not self._done.is_set():
            self._send()

    def connection_lost(self, _: Exception | None) -> None:
        """The server was killed, or all is done."""
        if self._number is not None:
            self._todo.again(self._number)
        self._number = None

    def _send(self) -> None:
        self._number = self._todo.next()
        if self._number is not None:
            self._transport.write(self._todo.request(self._number))


def send(running: Running, todo: Todo, until: int, connections: int, *, kill: bool = False) -> None:
    """Send until so many are acknowledged; then `kill` the server while others are on their way."""

    async def run() -> None:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        make = lambda: Sender(todo, until, done)  # noqa: E731
        made = [
            await loop.create_connection(make, "127.0.0.1", running.port)
            for _ in range(connections)
        ]
        await done.wait()
        if kill:
            running.process.kill()
        for transport, _ in made:
            transport.close()
        await asyncio.sleep(0.2)

    uvloop.run(run())


def main() -> int:
    parser = options(__doc__ or "", data=False, load=False, rounds=0)
    parser.add_argument("--events", type=int, default=3_000_000, help="(%(default)s)")
    parser.add_argument("--users", type=int, default=400_000, help="(%(default)s)")
    parser.add_argument("--connections", type=int, default=512, help="(%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")
    given = parser.parse_args()
    files()
    os.sched_setaffinity(0, {int(LOAD)})
    with tempfile.TemporaryDirectory(prefix="marquee-bench-") as folder:
        return bench(given, Path(folder, "data"))


def bench(given: argparse.Namespace, data: Path) -> int:
    server, todo = ours(str(data), sample=True), Todo(given.events, given.users, DAY)
    sending = 0.0
    for part in KILLS:
        with server.running() as running:
            began = time.monotonic()
            send(running, todo, int(given.events * part), given.connections, kill=True)
            sending += time.monotonic() - began
    with server.running() as running:
        send(running, Todo(10, 10, TEN), 10, 10)
        began = time.monotonic()
        send(running, todo, given.events, given.connections)
        sending += time.monotonic() - began
        began = time.monotonic()
        exact = users(running, DAY)
        waited = time.monotonic() - began
        assert users(running, TEN) == 10
        times = [(asked(running, TEN), asked(running, DAY)) for _ in range(5)]
        few, many = (sorted(each[at] for each in times)[2] for at in (0, 1))
        counted = events(running)
        command = [sys.executable, "server.py", "rebuild", "--data", str(data), "--json"]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        rebuilt = json.loads(done.stdout)
        again, recounted = users(running, DAY), events(running)
    size = bytes_of(data / "views.db")
    rows = [
        ("events acknowledged", f"{todo.acknowledged:,}"),
        ("events counted", f"{counted:,}"),
        ("acknowledged a second", f"{todo.acknowledged / sending:,.0f}"),
        ("seconds until the last was counted", f"{waited:.2f}"),
        ("an answer with ten users, ms (p50)", f"{few * 1000:.2f}"),
        (f"an answer with {given.users:,}, ms (p50)", f"{many * 1000:.2f}"),
        ("seconds of a rebuild", f"{rebuilt['seconds']:.1f}"),
        *((f"bytes a user in {name}", f"{size[name] / given.users:.2f}") for name in USER_TABLES),
        ("bytes of views.db, in all", f"{sum(size.values()):,}"),
    ]
    held = sum(size[name] for name in USER_TABLES) / given.users
    # An event whose answer the kill cut off was sent again, and may have been stored before.
    most = todo.acknowledged + given.connections * len(KILLS)
    promises = [
        Promise("users counted too many or too few", abs(exact - given.users), 0, least=False),
        Promise("the same, after a rebuild", abs(again - given.users), 0, least=False),
        Promise("events that a rebuild counts otherwise", abs(counted - recounted), 0, least=False),
        Promise("events counted, of those acknowledged", counted, todo.acknowledged),
        Promise("events counted, of those sent", counted, most, least=False),
        Promise("bytes a user", held, BYTES, least=False),
        Promise("an answer, times that with ten users", many / few, SLOWER, least=False),
    ]
    return report(
        given, {f"{given.events:,} events of a day": (("what", "how much"), rows)}, promises
    )


def users(running: Running, day: str) -> int:
    """The daily users; asked again while the views are too far behind."""
    while True:
        status, _, body = running.get(f"/api/v1/dau/{APP}?date={day}")
        if status == 200:
            return int(json.loads(body)["dau"])
        assert status == 503, body
        time.sleep(0.2)


def asked(running: Running, day: str) -> float:
    """Seconds of an answer, in the middle of many."""
    spent = []
    for _ in range(ASKED):
        began = time.perf_counter()
        users(running, day)
        spent.append(time.perf_counter() - began)
    return sorted(spent)[ASKED // 2]


def events(running: Running) -> int:
    """All events of the day."""
    _, _, body = running.get(f"/api/v1/stories/{APP}/counts?date={DAY}")
    return sum(each["count"] for each in json.loads(body)["counts"])


def bytes_of(path: Path) -> dict[str, int]:
    """What each table, with its pages as they are filled, takes of a file."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        sql = "SELECT name, sum(pgsize) FROM dbstat GROUP BY name"
        return dict(connection.execute(sql).fetchall())


if __name__ == "__main__":
    sys.exit(main())
