"""No hostile body blocks the event loop for long."""

import json
import signal
import sys
import time

import pytest

from tests.support import PROGRAMS
from tests.support.cpu_time import scaled_20_ms
from tests.support.events.events_api import EventsApp
from tests.support.events.hostile_bodies import hostile_bodies
from tests.support.server_process import MarqueeProcess

WATCHED = PROGRAMS / "loop_watch.py"
KINDS = ("application/json", "application/x-ndjson")
# A busy machine lengthens some turns, so slow bodies are sent again this often. A body that really
# costs too much is slow each time.
TIMES, AT_ONCE = 20, 100
# Smaller bodies cannot take long in any media type.
SMALL = 10_000


class Watched(MarqueeProcess):
    """A server that reports the duration of its event loop turns."""

    program = (sys.executable, str(WATCHED))

    def longest_turn(self) -> float:
        """Return the longest turn in seconds since the last call."""
        lines_before = len(self.stdout_lines)
        self.process.send_signal(signal.SIGUSR1)
        end = time.monotonic() + 120
        while time.monotonic() < end:
            for line in self.stdout_lines[lines_before:]:
                if line.startswith("turn "):
                    return float(line.split()[1])
            time.sleep(0.005)
        raise AssertionError("it does not tell")


@pytest.fixture
def app(tmp_path):
    server = Watched(tmp_path / "data")
    yield EventsApp(server)
    assert server.stop() == 0, server.log
    assert "Traceback" not in server.log


def send(app, kind, bodies):
    """Send bodies of a media type; return the statuses."""
    statuses = set()
    connection = app.server.connect()
    headers = {"Authorization": f"Bearer {app.secret_token}", "Content-Type": kind}
    for each in bodies:
        connection.request("POST", "/events", each, headers)
        response = connection.getresponse()
        statuses.add(response.status)
        answer = json.loads(response.read())
        assert response.status != 202 or "results" in answer, each[:80]
    connection.close()
    return statuses


def quickest(app, kind, bodies, times=TIMES):
    """Return the longest turn of these bodies in units of 20 ms, the best of several attempts."""
    turns = []
    while len(turns) < times and min(turns, default=1) >= 1:
        app.server.longest_turn()
        assert send(app, kind, bodies) <= {202, 400, 422}
        turns.append(app.server.longest_turn() / scaled_20_ms())
    return min(turns)


def groups():
    """Yield every hostile body in every media type."""
    for kind in KINDS:
        bodies = [each for each in hostile_bodies() if kind == KINDS[0] or len(each) >= SMALL]
        for first in range(0, len(bodies), AT_ONCE):
            yield kind, bodies[first : first + AT_ONCE]


def test_hostile_bodies_block_the_event_loop_for_at_most_20_ms(app):
    app.server.request("/healthz")
    for kind, bodies in groups():
        assert quickest(app, kind, bodies) < 1, (kind, [each[:80] for each in bodies])


def test_control_detects_longer_event_loop_turns(tmp_path):
    """Control: the test above can fail."""
    app = EventsApp(Watched(tmp_path / "data", SPIN=f"{scaled_20_ms() * 5}"))
    kind, bodies = next(groups())
    assert quickest(app, kind, bodies[:2], times=2) >= 1
    assert app.server.stop() == 0, app.server.log
