"""Misbehaving applications and fast routes: one response and one log entry."""

import asyncio
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    ResponseStartLine,
)
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from httpserver import FastRoute, Request, Response
from tests.support.httpserver.echo_application import FAST_ROUTES, echo_application, no_access_log
from tests.support.httpserver.raw_client import (
    MalformedResponse,
    RawResponse,
    build_get,
    build_request,
    parse_head,
    parse_responses,
)
from tests.support.httpserver.server_thread import ServerThread

LAST = build_get("/fast/hello", "Connection: close")


class Rude(HTTPServerConnectionDelegate, HTTPMessageDelegate):
    """A delegate that runs given functions at the callbacks named."""

    def __init__(self, acts: dict[str, Callable[["Rude"], Any]]) -> None:
        self.acts = acts
        self.ended: list[str] = []

    def start_request(self, server_conn: object, request_conn: Any) -> Any:
        made = Rude(self.acts)
        made.ended = self.ended
        made.connection = request_conn
        return made

    connection: Any

    def act(self, place: str) -> Any:
        return self.acts[place](self) if place in self.acts else None

    def headers_received(self, start_line: Any, headers: Any) -> Any:
        return self.act("headers")

    def data_received(self, chunk: bytes) -> Any:
        return self.act("data")

    def finish(self) -> Any:
        self.ended.append("finish")
        return self.act("finish")

    def on_connection_close(self) -> None:
        self.ended.append("close")
        self.act("close")

    def head(self, *headers: tuple[str, str], status: int = 200) -> None:
        self.connection.write_headers(
            ResponseStartLine("", status, "OK"), HTTPHeaders(dict([("Date", "x"), *headers]))
        )


def broken(_: Rude) -> None:
    raise RuntimeError("a rude delegate")


async def broken_late(_: Rude) -> None:
    await asyncio.sleep(0.01)
    raise RuntimeError("a rude delegate")


def sent(
    stage: ServerThread, acts: dict[str, Callable[[Rude], Any]], data: bytes
) -> list[RawResponse]:
    """Return all responses to `data`; check that the server still works."""
    served = stage.serve(Rude(acts), FAST_ROUTES)
    with served.connect() as peer:
        peer.send(data + LAST)
        answered = peer.read_to_end()
    served.ping()
    served.stop()
    stage.assert_no_loop_errors()
    return parse_responses(answered)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the logged errors and clear the log."""
    found = [each.getMessage() for each in caplog.records if each.levelname == "ERROR"]
    caplog.clear()
    return found


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("headers", broken),
        ("headers", broken_late),
        ("data", broken),
        ("data", broken_late),
        ("finish", broken),
    ],
)
def test_an_error_in_a_delegate_is_500(
    stage: ServerThread, place: str, fault: Callable[[Rude], Any], caplog: pytest.LogCaptureFixture
) -> None:
    (answer,) = sent(stage, {place: fault}, build_request("POST", "/x", body=b"12345"))
    assert (answer.status, answer.closes_connection) == (500, True)
    assert len(errors(caplog)) == 1


def test_an_error_while_creating_a_delegate_is_500(
    stage: ServerThread, caplog: pytest.LogCaptureFixture
) -> None:
    class Unmade(HTTPServerConnectionDelegate):
        def start_request(self, server_conn: object, request_conn: Any) -> Any:
            raise RuntimeError("not made")

    served = stage.serve(Unmade(), FAST_ROUTES)
    with served.connect() as peer:
        peer.send(build_get("/x") + LAST)
        (answer,) = parse_responses(peer.read_to_end())
    assert (answer.status, answer.closes_connection) == (500, True)
    assert len(errors(caplog)) == 1
    served.ping()


def test_an_error_in_on_connection_close_is_logged(
    stage: ServerThread, caplog: pytest.LogCaptureFixture
) -> None:
    served = stage.serve(Rude({"close": broken}), FAST_ROUTES)
    with served.connect() as peer:
        peer.send(build_request("POST", "/x", "Content-Length: 9") + b"1234")
        served.ping()
    served.ping()
    served.stop()
    stage.assert_no_loop_errors()
    assert len(errors(caplog)) == 1


def test_an_input_error_of_a_delegate_is_400(
    stage: ServerThread, caplog: pytest.LogCaptureFixture
) -> None:
    def unread(_: Rude) -> None:
        raise HTTPInputError("no")

    (answer,) = sent(stage, {"data": unread}, build_request("POST", "/x", body=b"12345"))
    assert (answer.status, answer.closes_connection) == (400, True)
    assert errors(caplog) == []


def test_a_delegate_gets_either_finish_or_on_connection_close(stage: ServerThread) -> None:
    """`finish` or `on_connection_close`, never both (HTTPMessageDelegate)."""
    rude = Rude({})
    served = stage.serve(rude, FAST_ROUTES)
    with served.connect() as peer:
        peer.send(build_request("POST", "/x", "Content-Length: 9") + b"1234")
        served.ping()
    served.ping()
    with served.connect() as peer:
        peer.send(build_request("POST", "/x", body=b"12345"))
        served.ping()
    served.ping()
    served.stop()
    assert rude.ended == ["close", "finish"]


def twice(rude: Rude) -> None:
    rude.head(("Content-Length", "2"))
    rude.connection.write(b"ok")
    rude.connection.finish()
    rude.connection.finish()


def after_the_end(rude: Rude) -> None:
    rude.head(("Content-Length", "2"))
    rude.connection.write(b"ok")
    rude.connection.finish()
    rude.connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def too_much(rude: Rude) -> None:
    rude.head(("Content-Length", "2"))
    rude.connection.write(b"okay, and more")
    rude.connection.finish()


def too_little(rude: Rude) -> None:
    rude.head(("Content-Length", "20"))
    rude.connection.write(b"ok")
    rude.connection.finish()


def split_header(rude: Rude) -> None:
    headers = HTTPHeaders()
    # Bypass Tornado's own check.
    headers._as_list["X-A"] = ["b\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK"]
    rude.connection.write_headers(ResponseStartLine("", 200, "OK"), headers)
    rude.connection.finish()


def split_reason(rude: Rude) -> None:
    start = ResponseStartLine("", 200, "OK\r\nX-A: b")
    rude.connection.write_headers(start, HTTPHeaders({"Content-Length": "0"}))
    rude.connection.finish()


def bad_length(rude: Rude) -> None:
    rude.head(("Content-Length", "2, 3"))
    rude.connection.write(b"ok")
    rude.connection.finish()


def body_of_204(rude: Rude) -> None:
    rude.head(status=204)
    rude.connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    rude.connection.finish()


def body_of_304(rude: Rude) -> None:
    rude.head(status=304)
    rude.connection.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    rude.connection.finish()


def closing(rude: Rude) -> None:
    rude.head(("Content-Length", "20"))
    rude.connection.close()


def detaching(rude: Rude) -> None:
    rude.connection.detach()


@pytest.mark.parametrize(
    "act",
    [
        twice, after_the_end, too_much, too_little, split_header, split_reason, bad_length,
        body_of_204, body_of_304, closing, detaching,
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["headers", "finish"])
def test_a_misbehaving_delegate_cannot_forge_a_response(
    stage: ServerThread, act: Callable[[Rude], None], place: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No output of a delegate looks like more than one response."""
    served = stage.serve(Rude({place: act}), FAST_ROUTES)
    with served.connect() as peer:
        peer.send(build_get("/x") + LAST)
        data = peer.read_to_end()
    served.ping()
    served.stop()
    stage.assert_no_loop_errors()
    caplog.clear()
    assert data.count(b"HTTP/1.1 ") <= 1 + data.count(b"\r\n\r\nhello")
    assert b"X-A: b\r\n" not in data
    try:
        assert len(parse_responses(data)) <= 2
    except MalformedResponse as error:
        # The response is incomplete; the client sees that by the close.
        assert "breaks off" in str(error) or not data


class Socket(WebSocketHandler):
    def on_message(self, message: str | bytes) -> None:
        raise AssertionError("there are no messages")


def test_a_websocket_is_refused_with_an_explanation(stage: ServerThread) -> None:
    served = stage.serve(
        Application([(r"/socket", Socket)], log_function=no_access_log), FAST_ROUTES
    )
    asked = build_get(
        "/socket",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    with served.connect() as peer:
        answer = peer.request(asked)
        assert answer.status in (400, 426, 501)
        assert b"WebSocket" in answer.body
    served.ping()


# Fast routes.


async def late_nothing(_: Request) -> Any:
    return None


async def cancelled(_: Request) -> Any:
    raise asyncio.CancelledError


def unjust(_: Request) -> Any:
    raise KeyError("x")


@pytest.mark.parametrize(
    "call", [lambda _: None, lambda _: "text", late_nothing, cancelled, unjust]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_fast_route_without_a_response_is_500(
    stage: ServerThread,
    call: Callable[[Request], Any],
    method: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    route = FastRoute("GET", r"/bad", call)
    served = stage.serve(echo_application(), [*FAST_ROUTES, route])
    with served.connect() as peer:
        peer.send(build_request(method, "/bad") + LAST)
        first, *others = parse_responses(peer.read_to_end(), [method])
    assert first.status == 500
    assert [each.body for each in others] == ([] if first.closes_connection else [b"hello"])
    assert route.statuses[500] == 1
    assert len(errors(caplog)) == 1
    served.stop()


def test_an_error_in_an_error_page_does_not_stop_the_server(
    stage: ServerThread, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(status: int, detail: str) -> Response:
        raise RuntimeError("no page")

    served = stage.serve(
        echo_application(), [*FAST_ROUTES, FastRoute("GET", "/bad", unjust)], error_response=failing
    )
    for data in (b"nonsense\r\n\r\n", build_get("/bad", "Connection: close")):
        with served.connect() as peer:
            peer.send(data)
            assert [each.status // 100 for each in parse_responses(peer.read_to_end())] in (
                [],
                [4],
                [5],
            )
    served.ping()
    stage.assert_no_loop_errors()
    assert len(errors(caplog)) >= 2


def test_responses_of_fast_routes_are_counted(stage: ServerThread) -> None:
    route = FastRoute("GET", r"/status/(\d+)", lambda asked: Response(int(asked.params[0])))
    served = stage.serve(echo_application(), [*FAST_ROUTES, route])
    with served.connect() as peer:
        for status in (200, 404, 200):
            peer.request(build_get(f"/status/{status}"))
        peer.request(build_request("HEAD", "/status/200"))
        peer.request(build_get("/app/echo"))
    assert dict(route.statuses) == {200: 3, 404: 1}
    assert served.server.stats.requests == 5  # type: ignore[union-attr]
    assert served.server.stats.accepted == 1  # type: ignore[union-attr]


def test_the_date_field_is_current(fast_stage: ServerThread) -> None:
    class Dated(RequestHandler):
        def get(self) -> None:
            self.write("x")

    served = fast_stage.serve(
        Application([(r"/app", Dated)], log_function=no_access_log), FAST_ROUTES
    )
    with served.connect() as peer:
        for pause in (1.1, 0):
            for path in ("/fast/hello", "/app"):
                before = time.time()
                sent_at = parsedate_to_datetime(peer.request(build_get(path)).header("Date") or "")
                assert before - 1.1 < sent_at.timestamp() <= time.time() + 0.1
            time.sleep(pause)


# Responses.


@given(
    st.lists(st.tuples(st.text(max_size=8), st.text(max_size=8)), max_size=3),
    st.integers(200, 599),
    st.binary(max_size=20),
)
def test_response_text_cannot_split_the_head(
    headers: list[tuple[str, str]], status: int, body: bytes
) -> None:
    """No text can end a header line or the head early."""
    try:
        response = Response(status, headers, b"" if status in (204, 304) else body)
    except ValueError:
        return
    received_status, _, fields, rest = parse_head(response.head + b"\r\n")
    assert received_status == status
    assert rest == b""
    own = [(name, value) for name, value in fields if name != "Content-Length"]
    assert own == [(name, value.strip(" \t")) for name, value in headers]


@pytest.mark.parametrize(
    "header",
    [
        ("X-A", "b\r\nX-B: c"), ("X-A", "b\nX-B: c"), ("X-A", "b\rc"), ("X-A", "b\x00c"),
        ("X-A\r\nX-B", "c"), ("X-A:", "b"), ("X A", "b"), ("", "b"), ("X-A\x00", "b"),
        ("X-\xe4", "b"), ("X-A", "\u20ac"),
    ],
)  # fmt: skip
def test_a_field_that_would_split_a_response_is_refused(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError):
        Response(200, [header])
