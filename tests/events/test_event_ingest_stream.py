"""Ingest of NDJSON bodies that are too large for the fast route, or chunked."""

import contextlib
import json
import socket
import struct
import threading
import time

import pytest

from tests.support.events.events_api import EventsApp, count_changes
from tests.support.events.hostile_bodies import event_body

LINES = "application/x-ndjson"


@pytest.fixture
def app(empty_server):
    return EventsApp(empty_server)


def event(number, pad=0):
    return event_body(sender_id=f"{number:08}", name="stream", data={"n": number, "pad": "x" * pad})


def test_a_large_batch_has_ordered_results(app):
    before = app.counts()
    sent = b"\n".join(event(number) for number in range(20_000))
    assert len(sent) > 4_000_000
    first = app.send(sent, kind=LINES)
    assert first.status == 202
    results = first.json()["results"]
    assert [each["status"] for each in results] == ["accepted"] * 20_000
    ids = [int(each["id"]) for each in results]
    assert ids == sorted(set(ids))
    again = app.send(sent, kind=LINES).json()["results"]
    assert [each["status"] for each in again] == ["duplicate"] * 20_000
    assert [int(each["id"]) for each in again] == ids
    assert count_changes(before, app.counts()) == {
        "received": 40_000, "stored": 20_000, "duplicate": 20_000,
    }  # fmt: skip


def chunked(app, pieces, kind, pause=0.0):
    """Send a body in chunks; return the status and the response body."""
    with socket.create_connection(("127.0.0.1", app.server.port), timeout=120) as peer:
        head = f"POST /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {app.secret_token}\r\n"
        head += f"Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        peer.sendall(head.encode())
        for piece in pieces:
            peer.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            time.sleep(pause)
        peer.sendall(b"0\r\n\r\n")
        answer = b""
        while piece := peer.recv(65_536):
            answer += piece
    head, _, rest = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(rest)


@pytest.mark.parametrize("size", [1, 7, 64, 1_000, 100_000])
def test_results_do_not_depend_on_chunk_boundaries(app, size):
    sent = b"\n".join(
        [
            event_body(),
            b"{}",
            b"",
            event_body(sender_id="a"),
            event_body(sender_id="a"),
            b"x",
            event_body(),
        ]
    )
    pieces = [sent[at : at + size] for at in range(0, len(sent), size)]
    status, answer = chunked(app, pieces, LINES)
    assert status == 202
    assert [each["status"] for each in answer["results"]] == [
        "accepted", "rejected", "accepted", "duplicate", "rejected", "accepted",
    ]  # fmt: skip


def test_one_event_and_an_array_may_be_chunked(app):
    sent = event_body()
    assert chunked(app, [sent[:50], sent[50:]], "application/json")[0] == 202
    _, answer = chunked(app, [b"[", sent, b",{}", b"]"], "application/json")
    assert [each["status"] for each in answer["results"]] == ["accepted", "rejected"]
    assert chunked(app, [b"{"], "application/json")[0] == 400
    assert chunked(app, [b"{}"], "application/json")[0] == 422
    assert chunked(app, [sent], "text/plain")[0] == 415
    assert chunked(app, [], "application/json")[0] == 400


def test_only_ndjson_may_exceed_max_body(app):
    sent = b"[" + b",".join([event_body()] * 2_000) + b"]"
    before = app.counts()
    for status, problem in (
        (lambda answer: (answer.status, answer.json()))(app.send(sent)),
        chunked(app, [sent[:1_000], sent[1_000:]], "application/json"),
        chunked(app, [b'{"a": "' + b"x" * 300_000 + b'"}'], "application/json"),
    ):
        assert status == 413
        # The detail names the limit, its setting and the remedy.
        for word in ("262144 bytes (max_body)", LINES, "16777216 bytes at a time (max_batch)"):
            assert word in problem["detail"]
    assert app.counts() == before
    lines = b"\n".join([event_body()] * 2_000)
    assert len(app.send(lines, kind=LINES).json()["results"]) == 2_000
    # The connection stays usable, as the server discarded the body.
    with contextlib.closing(app.server.connect()) as connection:
        headers = {"Authorization": f"Bearer {app.secret_token}"}
        for each, status in ((sent, 413), (event_body(), 202)):
            connection.request("POST", "/events", each, headers)
            answer = connection.getresponse()
            assert (answer.status, bool(answer.read())) == (status, True)


def test_expect_100_continue_gets_413_before_a_too_large_body(app):
    with socket.create_connection(("127.0.0.1", app.server.port), timeout=60) as peer:
        head = f"POST /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {app.secret_token}\r\n"
        head += "Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n"
        peer.sendall(head.encode())
        answer = peer.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_a_too_long_line_is_one_rejected_event(app):
    before = app.counts()
    sent = b"\n".join(
        [event_body(), b'{"' + b"x" * 900_000, event_body(), event(1, 300_000), b"", event_body()]
    )
    answer = app.send(sent, kind=LINES)
    results = answer.json()["results"]
    assert [each["status"] for each in results] == [
        "accepted", "rejected", "accepted", "rejected", "accepted",
    ]  # fmt: skip
    assert results[1]["errors"][0]["message"] == "is longer than 262144 bytes"
    assert count_changes(before, app.counts()) == {"received": 5, "stored": 3, "rejected": 2}
    assert (
        app.send(b"\n" * 300_000 + event_body(), kind=LINES).json()["results"][0]["status"]
        == "accepted"
    )
    assert app.send(b"x" * 300_000, kind=LINES).json()["results"][0]["status"] == "rejected"


def test_a_stream_of_short_items_is_rejected_early(app):
    before = app.counts()
    answer = app.send(event_body() + b"\n" + b"1\n" * 500_000, kind=LINES)
    assert answer.status == 202
    results = answer.json()["results"]
    assert results[0]["status"] in ("accepted", "rejected")
    assert len(results) <= 1_002
    assert results[-1]["errors"][0]["message"].startswith("holds more than 1000 items")
    assert count_changes(before, app.counts())["received"] == len(results)
    assert app.send(event_body()).status == 202


def test_a_stream_needs_a_write_token(app):
    sent = b"\n".join([event_body()] * 2_000)
    assert app.send(sent, kind=LINES, token=app.create_token("read", "admin")).status == 403
    assert app.send(sent, kind=LINES, Authorization="Bearer x").status == 401


def test_a_stream_over_max_batch_is_413(start_server):
    app = EventsApp(start_server("--max-batch", "1000000"))
    line = event_body() + b"\n"
    assert app.send(line * 2_000, kind=LINES).status == 202
    assert app.send(line * 6_000, kind=LINES).status == 413


def test_an_interrupted_stream_keeps_its_complete_lines(app):
    before = app.counts()
    with socket.create_connection(("127.0.0.1", app.server.port), timeout=120) as peer:
        head = f"POST /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {app.secret_token}\r\n"
        head += f"Content-Type: {LINES}\r\nContent-Length: 1000000\r\n\r\n"
        peer.sendall(head.encode() + b"".join(event(number) + b"\n" for number in range(300)))
        until(lambda: count_changes(before, app.counts()).get("stored", 0) > 200)
    until(lambda: "stored" in count_changes(before, app.counts()))
    assert count_changes(before, app.counts())["received"] <= 300
    assert app.send(event_body()).status == 202


@pytest.mark.parametrize("pause", [0, 0.001, 0.002, 0.004])
def test_a_disconnect_during_authentication_reserves_no_memory(app, pause):
    token = app.create_token("write")  # which is not known yet
    head = f"POST /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
    head += f"Content-Type: {LINES}\r\nContent-Length: 1000000\r\n\r\n"
    with contextlib.ExitStack() as leaving:
        peers = [socket.create_connection(("127.0.0.1", app.server.port)) for _ in range(40)]
        for peer in peers:
            leaving.enter_context(peer)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.sendall(head.encode())
        time.sleep(pause)
    until(lambda: "marquee_request_body_bytes 0.0\n" in app.server.request("/metrics").text)


def until(true, seconds=120.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_pages_are_served_while_streams_arrive(app):
    done, waits = threading.Event(), []

    def send():
        sent = b"\n".join(event(number, 50) for number in range(30_000))
        assert app.send(sent, kind=LINES).status == 202
        done.set()

    sender = threading.Thread(target=send)
    sender.start()
    connection = app.server.connect()
    while not done.is_set():
        began = time.monotonic()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        waits.append(time.monotonic() - began)
    sender.join()
    connection.close()
    waits.sort()
    assert len(waits) > 20
    # The bound holds on a busy machine: a stream takes far longer than this.
    assert waits[len(waits) * 9 // 10] < 0.1
