"""No body, however hostile, holds the server's loop for long."""

import json
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import Running
from hostile import hostile
from test_events import App

WATCHED = Path(__file__).with_name("turns.py")
KINDS = ("application/json", "application/x-ndjson")
LONGEST = 0.020  # seconds
# What is smaller cannot take long, whatever it is sent as.
SMALL = 10_000


class Watched(Running):
    """A server that tells how long its loop's turns took."""

    program = (sys.executable, str(WATCHED))

    def longest_turn(self) -> float:
        """Seconds of the longest turn since this was last asked."""
        told = len(self.told)
        self.process.send_signal(signal.SIGUSR1)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for line in self.told[told:]:
                if line.startswith("turn "):
                    return float(line.split()[1])
            time.sleep(0.005)
        raise AssertionError("it does not tell")


@pytest.fixture
def app(tmp_path):
    server = Watched(tmp_path / "data")
    yield App(server)
    assert server.stop() == 0, server.log
    assert "Traceback" not in server.log


def send_all(app):
    """Send every hostile body in every way; what each was answered."""
    statuses = set()
    connection = app.server.connect()
    for kind in KINDS:
        headers = {"Authorization": f"Bearer {app.secret_token}", "Content-Type": kind}
        for each in hostile():
            if kind != KINDS[0] and len(each) < SMALL:
                continue
            connection.request("POST", "/events", each, headers)
            response = connection.getresponse()
            statuses.add(response.status)
            answer = json.loads(response.read())
            assert response.status != 202 or "results" in answer, each[:80]
    connection.close()
    return statuses


def test_a_thousand_hostile_bodies_hold_the_loop_for_no_more_than_20_ms(app):
    app.server.ask("/healthz")
    app.server.longest_turn()
    waits, ended = [], threading.Event()

    def ping():
        connection = app.server.connect()
        while not ended.wait(0.005):
            began = time.monotonic()
            connection.request("GET", "/healthz")
            assert connection.getresponse().read()
            waits.append(time.monotonic() - began)
        connection.close()

    pinging = threading.Thread(target=ping)
    pinging.start()
    turns = [LONGEST]
    # In processor time; yet a machine that is busy with other things adds to that, too.
    while turns[-1] >= LONGEST and len(turns) < 4:
        assert send_all(app) == {202, 400, 422}
        turns.append(app.server.longest_turn())
    ended.set()
    pinging.join()
    assert turns[-1] < LONGEST, turns
    waits.sort()
    assert len(waits) > 100
    assert waits[len(waits) * 99 // 100] < 0.1
