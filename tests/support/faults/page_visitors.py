"""Clients that view banner pages, read stories and report story impressions."""

import contextlib
import http.client
import itertools
import json
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.faults.server_load import KillableServer

# Views that must be answered, and then be on disk, before a kill.
MIN_IMPRESSIONS = 30
IMPRESSIONS_SQL = "SELECT coalesce(sum(impressions), 0) FROM figure WHERE import = 0"


class PageVisitors:
    """What clients requested and received over kills of a server with sample data."""

    def __init__(self) -> None:
        self.requested_views = 0  # banner pages
        self.durable_views = 0  # of them, on disk before a kill
        self.acknowledged: list[int] = []  # ids of story events
        self._answered_views = 0  # since the last start
        self._views_at_start = 0  # on disk at the last start
        self._numbers = itertools.count()
        self._threads: list[threading.Thread] = []

    def start(self, server: KillableServer) -> None:
        """Send requests in four threads until the server ends."""
        self._answered_views = 0
        actions = (
            self._view_page,
            self._view_page,
            self._report_impression,
            self._report_impression,
        )
        self._threads = [
            threading.Thread(target=self._repeat, args=(server, each)) for each in actions
        ]
        for each in self._threads:
            each.start()

    def join(self) -> None:
        """Wait for the threads after the server was killed."""
        for each in self._threads:
            each.join(60)

    def is_enough_on_disk(self, database: Path) -> bool:
        """Return whether enough views since the last start are on disk, and enough story
        events acknowledged.
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
        """Check that durable views and acknowledged story events are in the database."""
        (views,) = connection.execute(IMPRESSIONS_SQL).fetchone()
        self._views_at_start = views
        assert self.durable_views <= views <= self.requested_views, (
            self.durable_views,
            views,
            self.requested_views,
        )
        stored_ids = {row[0] for row in connection.execute("SELECT id FROM event WHERE source = 2")}
        assert stored_ids.issuperset(self.acknowledged), "acknowledged story events are lost"

    def _repeat(
        self, server: KillableServer, action: Callable[[http.client.HTTPConnection], None]
    ) -> None:
        connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            contextlib.closing(connection),
        ):
            while True:
                action(connection)
                time.sleep(0.002)

    def _view_page(self, connection: http.client.HTTPConnection) -> None:
        self.requested_views += 1
        connection.request("GET", "/campaigns/1/")
        response = connection.getresponse()
        response.read()
        assert response.status == 200
        self._answered_views += 1

    def _report_impression(self, connection: http.client.HTTPConnection) -> None:
        number = next(self._numbers)
        path = "/api/v1/stories/cached/token_1" if number % 2 else "/api/v1/stories/token_1"
        connection.request("GET", path)
        response = connection.getresponse()
        stories = json.loads(response.read())["metadata"]
        event = {"story_id": stories[0]["id"], "event_type": "impression", "user_id": f"u{number}"}
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/api/v1/event/token_1", json.dumps(event), headers)
        response = connection.getresponse()
        body = json.loads(response.read())
        assert response.status == 202, body
        self.acknowledged.append(int(body["id"]))
