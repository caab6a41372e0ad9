"""Browsers and apps beside the senders: who looks at pages, reads stories, and tells of them."""

import contextlib
import http.client
import itertools
import json
import sqlite3
import threading
import time
from pathlib import Path

from tests.support.faults.server_load import Server

# So many views are answered before it is waited for that they are on disk.
SOME = 30
VIEWS = "SELECT coalesce(sum(impressions), 0) FROM figure WHERE import = 0"


class Visitors:
    """What they asked for and were told, over a server's kills; the server has the sample."""

    def __init__(self) -> None:
        self.begun = 0  # page views that were asked for,
        self.settled = 0  # and those of them that were on disk before a kill
        self.acked: list[int] = []  # story events
        self._views = 0  # that were answered since the last start
        self._written = 0  # that were on disk then
        self._numbers = itertools.count()
        self._threads: list[threading.Thread] = []

    def come(self, server: Server) -> None:
        """Ask until the server ends."""
        self._views = 0
        asking = (self._look, self._look, self._read, self._read)
        self._threads = [threading.Thread(target=self._go, args=(server, each)) for each in asking]
        for each in self._threads:
            each.start()

    def leave(self) -> None:
        """The server was killed a moment ago."""
        for each in self._threads:
            each.join(60)

    def settle(self, database: Path) -> bool:
        """Whether some views that were answered since the last start are on disk, and some
        story events were acknowledged.
        """
        if self._views < SOME or len(self.acked) < 2 * SOME:
            return False
        with contextlib.closing(sqlite3.connect(database)) as connection:
            (views,) = connection.execute(VIEWS).fetchone()
        if views < self._written + SOME:
            return False
        self.settled = views
        return True

    def check(self, connection: sqlite3.Connection) -> None:
        """That all that they were told is so."""
        (views,) = connection.execute(VIEWS).fetchone()
        self._written = views
        assert self.settled <= views <= self.begun, (self.settled, views, self.begun)
        kept = {row[0] for row in connection.execute("SELECT id FROM event WHERE source = 2")}
        assert kept.issuperset(self.acked), "a story event was acknowledged, and is gone"

    def _go(self, server: Server, ask) -> None:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(connection),
        ):
            while True:
                ask(connection)
                time.sleep(0.002)

    def _look(self, connection: http.client.HTTPConnection) -> None:
        self.begun += 1
        connection.request("GET", "/campaigns/1/")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        self._views += 1

    def _read(self, connection: http.client.HTTPConnection) -> None:
        number = next(self._numbers)
        path = "/api/v1/stories/cached/token_1" if number % 2 else "/api/v1/stories/token_1"
        connection.request("GET", path)
        answer = connection.getresponse()
        stories = json.loads(answer.read())["metadata"]
        told = {"story_id": stories[0]["id"], "event_type": "impression", "user_id": f"u{number}"}
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/api/v1/event/token_1", json.dumps(told), headers)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert answer.status == 202, body
        self.acked.append(int(body["id"]))
