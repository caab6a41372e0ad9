"""One client cannot occupy the memory budget of request bodies."""

import contextlib
import json
import socket
from urllib.parse import urlencode

import pytest

from tests.support.events.events_api import EventsApp
from tests.support.events.hostile_bodies import event_body

ANNOUNCED = 262_144
ADDRESSES = 8


def connect(server, number=0, source=""):
    """Connect from an address of its own."""
    source = source or f"127.0.0.{2 + number % ADDRESSES}"
    return socket.create_connection(("127.0.0.1", server.port), 20, (source, 0))


def head(method, path, size, *fields):
    lines = [f"{method} {path} HTTP/1.1", "Host: a", f"Content-Length: {size}", *fields, "", ""]
    return "\r\n".join(lines).encode()


def status_of(peer):
    with peer.makefile("rb") as answer:
        return int(answer.readline().split()[1])


def in_two_pieces(app, path, sent, *fields):
    """Return the status of a request whose body arrives after its head was read."""
    with connect(app.server, source="127.0.1.1") as peer:
        peer.sendall(head("POST", path, len(sent), *fields))
        assert app.server.request("/healthz").status == 200
        peer.sendall(sent)
        return status_of(peer)


def assert_others_are_served(app):
    token = f"Authorization: Bearer {app.secret_token}"
    event = event_body()
    large = event_body(name="large", data={"pad": "x" * 200_000})
    for _ in range(3):
        assert in_two_pieces(app, "/events", event, token) == 202
        assert in_two_pieces(app, "/events", large, token) == 202
        conversion = json.dumps({"click_id": "1", "revenue": 1}).encode()
        assert in_two_pieces(app, "/api/v1/conversions", conversion, token) == 422
        form = urlencode({"name": "nobody", "password": "wrong"}).encode()
        fields = "Content-Type: application/x-www-form-urlencoded", "Sec-Fetch-Site: same-origin"
        assert in_two_pieces(app, "/admin/login", form, *fields) in (422, 429)


@pytest.mark.parametrize("count", [64, 1_000])
@pytest.mark.parametrize("path", ["/nothing/here", "/events", "/admin/login"])
def test_announced_but_unsent_bodies_block_no_other_client(empty_server, path, count):
    app = EventsApp(empty_server)
    with contextlib.ExitStack() as opened:
        for number in range(count):
            peer = opened.enter_context(connect(empty_server, number))
            peer.sendall(head("POST", path, ANNOUNCED) + b"x")
        assert_others_are_served(app)


@pytest.mark.parametrize("path", ["/nothing/here", "/api/v1/conversions", "/admin/login"])
def test_nearly_complete_bodies_leave_memory_for_other_clients(empty_server, path):
    app = EventsApp(empty_server)
    with contextlib.ExitStack() as opened:
        for number in range(80):
            peer = opened.enter_context(connect(empty_server, number))
            peer.sendall(head("POST", path, ANNOUNCED) + b"x" * (ANNOUNCED - 1))
        assert_others_are_served(app)


@pytest.mark.parametrize("path", ["/nothing/here", "/admin/nothing", "/readyz", "/campaigns/1"])
def test_a_body_that_its_route_does_not_accept_reserves_no_memory(empty_server, path):
    with connect(empty_server) as peer:
        peer.sendall(head("POST", path, ANNOUNCED) + b"x" * (ANNOUNCED - 1))
        assert empty_server.request("/healthz").status == 200
        assert b"\nmarquee_request_body_bytes 0.0\n" in empty_server.request("/metrics").body
        peer.sendall(b"x")
        assert status_of(peer) in (404, 405)


def stream_head(app, kind):
    fields = f"Authorization: Bearer {app.secret_token}", f"Content-Type: {kind}"
    lines = ["POST /events HTTP/1.1", "Host: a", *fields, "Transfer-Encoding: chunked", "", ""]
    return "\r\n".join(lines).encode()


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def test_a_chunked_array_without_free_memory_is_503(empty_server):
    app = EventsApp(empty_server)
    sent = json.dumps(
        [json.loads(event_body(data={"pad": "x" * 2_000})) for _ in range(100)]
    ).encode()
    with contextlib.ExitStack() as opened:
        first = opened.enter_context(connect(empty_server))
        first.sendall(stream_head(app, "application/json") + chunk(sent[:10_000]))
        assert empty_server.request("/healthz").status == 200
        for number in range(80):
            peer = opened.enter_context(connect(empty_server, number))
            peer.sendall(stream_head(app, "application/x-ndjson") + chunk(b"x" * 200_000))
        assert empty_server.request("/healthz").status == 200
        first.sendall(chunk(sent[10_000:]) + chunk(b""))
        assert status_of(first) == 503


def test_streams_of_one_token_leave_memory_for_other_tokens(empty_server):
    app, other = EventsApp(empty_server), EventsApp(empty_server)
    request = stream_head(app, "application/x-ndjson")
    with contextlib.ExitStack() as opened:
        for number in range(80):
            peer = opened.enter_context(connect(empty_server, number))
            peer.sendall(request + b"%x\r\n%b" % (ANNOUNCED, b"x" * 200_000))
        assert_others_are_served(other)
