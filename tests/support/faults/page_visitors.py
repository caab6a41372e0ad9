"""Browsers and apps beside the senders: who looks at pages, reads stories, and tells of them."""

import contextlib
import http.client
import itertools
import json
import sqlite3
import threading
import time
from pathlib import Path

from tests.support.faults.server_load import KillableServer

# So many views are answered before it is waited for that they are on disk.
MIN_IMPRESSIONS = 30
IMPRESSIONS_SQL = "SELECT coalesce(sum(impressions), 0) FROM figure WHERE import = 0"


class PageVisitors:
    """What they asked for and were told, over a server's kills; the server has the sample."""

    def __init__(self) -> None:
        self.requested_views = 0  # page views that were asked for,
        self.durable_views = 0  # and those of them that were on disk before a kill
        self.acknowledged: list[int] = []  # story events
        self._answered_views = 0  # that were answered since the last start
        self._views_at_start = 0  # that were on disk then
        self._numbers = itertools.count()
        self._threads: list[threading.Thread] = []

    def start(self, server: KillableServer) -> None:
        """Ask until the server ends."""
        self._answered_views = 0
        asking = (
            self._view_page,
            self._view_page,
            self._report_impression,
            self._report_impression,
        )
        self._threads = [
            threading.Thread(target=self._repeat, args=(server, each)) for each in asking
        ]
        for each in self._threads:
            each.start()

    def join(self) -> None:
        """The server was killed a moment ago."""
        for each in self._threads:
            each.join(60)

    def is_enough_on_disk(self, database: Path) -> bool:
        """Whether some views that were answered since the last start are on disk, and some
        story events were acknowledged.
        """
        if self._answered_views < MIN_IMPRESSIONS or len(self.acknowledged) < 2 * MIN_IMPRESSIONS:
            return False
        with contextlib.closing(sqlite3.connect(database)) as connection:
            (views,) = connection.execute(IMPRESSIONS_SQL).fetchone()
        if views < self._views_at_start + MIN_IMPRESSIONS:
            return False
        self.durable_views = views
        return True

    def check(self, connection: sqlite3.Connection) -> None:
        """That all that they were told is so."""
        (views,) = connection.execute(IMPRESSIONS_SQL).fetchone()
        self._views_at_start = views
        assert self.durable_views <= views <= self.requested_views, (
            self.durable_views,
            views,
            self.requested_views,
        )
        kept = {row[0] for row in connection.execute("SELECT id FROM event WHERE source = 2")}
        assert kept.issuperset(self.acknowledged), "a story event was acknowledged, and is gone"

    def _repeat(self, server: KillableServer, ask) -> None:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(connection),
        ):
            while True:
                ask(connection)
                time.sleep(0.002)

    def _view_page(self, connection: http.client.HTTPConnection) -> None:
        self.requested_views += 1
        connection.request("GET", "/campaigns/1/")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        self._answered_views += 1

    def _report_impression(self, connection: http.client.HTTPConnection) -> None:
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
        self.acknowledged.append(int(body["id"]))
