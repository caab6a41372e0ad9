"""Events of nearly the maximum size: pages, exports and erasure stay bounded in bytes."""

import contextlib
import json
import socket
import time
from pathlib import Path

import pytest

from tests.support.events.events_api import EventsApp
from tests.support.events.hostile_bodies import event_body

LINES = "application/x-ndjson"
COUNT, PAD = 210, 200_000
PAGE = 1_048_576 + 262_144
MORE = 150  # MiB


def memory(server) -> float:
    """Return the resident memory in MiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


@pytest.fixture(scope="module")
def app(empty_server):
    """Return an app with large events of one session."""
    app = EventsApp(empty_server)
    events = [
        event_body(name="large", session_id="large", sender_id=str(number), data={"pad": "x" * PAD})
        for number in range(COUNT)
    ]
    for start in range(0, COUNT, 70):
        assert app.send(b"\n".join(events[start : start + 70]), kind=LINES).status == 202
    return app


def listed(app, path):
    """Yield the items of all pages of a list; assert that each page is small."""
    found, cursor = [], ""
    while cursor is not None:
        answer = app.request(f"{path}&cursor={cursor}" if cursor else path)
        assert answer.status == 200
        assert len(answer.body) < PAGE
        page = answer.json()
        cursor = page.pop("cursor")
        (items,) = page.values()
        found += items
    return found


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [7, 1_000])
def test_pages_of_large_events_are_bounded_in_bytes(app, order, limit):
    found = listed(app, f"/events?session_id=large&order={order}&limit={limit}")
    senders = [int(each["sender_id"]) for each in found]
    assert senders == sorted(range(COUNT), reverse=order == "desc")


@pytest.mark.parametrize("kind", ["ndjson", "csv"])
def test_an_export_of_large_events_is_complete(app, kind):
    answer = app.request(f"/events/export?name=large&format={kind}")
    assert answer.text.count("x" * PAD) == COUNT


@pytest.mark.parametrize(
    "path", ["/events?name=large&limit=1000", "/events/export?name=large", "/rejected-events?x"]
)
def test_slow_readers_cost_bounded_memory_and_block_no_other_client(app, path):
    for number in range(20):
        assert app.send(b"{" + b"x" * PAD + b"%d" % number).status == 400
    before, statuses = memory(app.server), []
    head = f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {app.secret_token}\r\n\r\n"
    with contextlib.ExitStack() as opened:
        peers = []
        for number in range(200):
            peer = opened.enter_context(socket.socket())
            peer.settimeout(30)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            peer.bind((f"127.0.0.{2 + number % 8}", 0))
            peer.connect(("127.0.0.1", app.server.port))
            peer.sendall(head.encode())
            peers.append(peer)
        for peer in peers:
            with contextlib.suppress(ConnectionError):
                statuses.append(peer.recv(12)[9:])
        assert set(statuses) <= {b"200", b"503", b""}
        assert statuses.count(b"200") > 8
        assert memory(app.server) - before < MORE
        other = app.create_token("read")
        assert app.request("/events?name=large&limit=1", token=other).status == 200
        assert app.send(event_body()).status == 202


def test_erasing_a_session_of_large_events_holds_the_writer_briefly(app):
    answer = app.request("/events?session_id=large", "DELETE")
    assert answer.status == 200, answer.text
    assert answer.json()["events"] == COUNT
    assert listed(app, "/events?session_id=large") == []


def test_erasing_a_session_reaches_large_rejected_events(app):
    sent = json.dumps({"session_id": "wrong", "data": "x" * PAD, "timestamp": time.time()}).encode()
    for _ in range(10):
        assert app.send(sent).status == 422
    assert app.request("/events?session_id=wrong", "DELETE").json()["rejected_events"] == 10
