"""Normalized requests of fast routes and applications, on both servers."""

import gzip
from collections.abc import Iterator

import pytest
from tornado.web import Application, RequestHandler, stream_request_body

from httpserver import FastRoute, Request, RequestNormalizer, Response, tornado_rules
from tests.support.httpserver.echo_application import no_access_log
from tests.support.httpserver.raw_client import (
    RawResponse,
    build_get,
    build_request,
    encode_chunks,
    parse_responses,
)
from tests.support.httpserver.server_thread import RunningServer, ServerThread

LANES = [
    FastRoute("GET", r"/fast/hello", lambda _: Response(200, (), b"hello")),
    FastRoute(
        "GET", r"/fast/name/([\w.~-]+)", lambda asked: Response(200, (), asked.params[0].encode())
    ),
    FastRoute("GET", r"/fast/cookie/(\w+)", lambda asked: Response(200, (), cookie(asked))),
    FastRoute("POST", r"/fast/body", lambda asked: Response(200, (), asked.body)),
    FastRoute("POST", r"/fast/small", lambda asked: Response(200, (), asked.body), body_limit=10),
]


def cookie(request: Request) -> bytes:
    return (request.cookie(request.params[0]) or "none").encode("latin-1")


class Name(RequestHandler):
    def get(self, name: str) -> None:
        self.finish(name)


class Uri(RequestHandler):
    def get(self) -> None:
        self.finish(f"{self.request.host} {self.request.uri}")


class Cookie(RequestHandler):
    def get(self, name: str) -> None:
        self.finish(self.get_cookie(name, "none"))


class Body(RequestHandler):
    def post(self) -> None:
        self.finish(self.request.body)


class FormArgumentsHandler(RequestHandler):
    def post(self) -> None:
        self.finish(self.get_body_argument("name", "none"))


@stream_request_body
class StreamedFormHandler(RequestHandler):
    def initialize(self) -> None:
        self.body = b""

    def data_received(self, chunk: bytes) -> None:
        self.body += chunk

    def post(self) -> None:
        self.finish(self.body)


ROUTES = [
    (r"/app/name/(.*)", Name),
    (r"/app/uri", Uri),
    (r"/app/cookie/(\w+)", Cookie),
    (r"/app/body", Body),
    (r"/app/form", FormArgumentsHandler),
    (r"/app/streamed", StreamedFormHandler),
]


@pytest.fixture(scope="module", params=["wire", "tornado"])
def served(request: pytest.FixtureRequest, stage: ServerThread) -> Iterator[RunningServer]:
    application = Application(
        tornado_rules(LANES, ROUTES, RequestHandler), log_function=no_access_log
    )
    if request.param == "wire":
        yield stage.serve(application, LANES)
    else:
        yield stage.serve_tornado(RequestNormalizer(application))


def ask(served: RunningServer, data: bytes) -> RawResponse:
    with served.connect() as peer:
        return peer.request(data)


@pytest.mark.parametrize("plane", ["fast", "app"])
@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("my~site_2", b"my~site_2"),
        ("my%7Esite_2", b"my~site_2"),
        ("my%7esite%5F2", b"my~site_2"),
        ("%6D%79%2D%2E%30%39%41%5A%61%7A", b"my-.09AZaz"),
        ("a?b=%61", b"a"),
    ],
)
def test_percent_encoded_unreserved_characters_of_a_path_are_decoded(
    served: RunningServer, plane: str, path: str, name: bytes
) -> None:
    answer = ask(served, build_get(f"/{plane}/name/{path}"))
    assert (answer.status, answer.body) == (200, name)
    # Also in fixed parts of the path.
    encoded = f"/{plane[0]}%{ord(plane[1]):x}{plane[2:]}/n%61me/{path}"
    assert ask(served, build_get(encoded)).body == name


def test_other_percent_encoded_characters_of_a_path_are_not_decoded(served: RunningServer) -> None:
    for path in ("%2Fapp/uri", "/app%2furi", "/app%2Furi", "/app/uri%3Fa", "/%61pp/uri%20"):
        assert ask(served, build_get(path)).status in (400, 404)
    # The result is not decoded a second time before the handler does so.
    assert ask(served, build_get("/app/name/%2541")).body == b"%41"
    assert ask(served, build_get("/fast/name/a%2Fb")).status == 404
    assert ask(served, build_get("/app/uri?a=%61%2F")).body == b"a.example /app/uri?a=%61%2F"


def test_an_absolute_target_is_a_path_whose_authority_is_the_host(served: RunningServer) -> None:
    for host in ("b.example", "b.example:81", "[::1]:80"):
        raw = f"GET http://{host}/app/uri?a=b HTTP/1.1\r\nHost: a.example\r\n\r\n".encode()
        assert ask(served, raw).body == f"{host} /app/uri?a=b".encode()
    raw = b"GET HTTPS://b.example/fast/hello HTTP/1.1\r\nHost: a.example\r\n\r\n"
    assert ask(served, raw).body == b"hello"
    assert ask(served, raw.replace(b"/fast/hello", b"")).status == 404
    for target in ("http:///app/uri", "http://a b/app/uri", "ftp://a/app/uri", "app/uri", "*"):
        with served.connect() as peer:
            peer.send(f"GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n".encode())
            peer.half_close()
            assert peer.read_to_end().startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("plane", ["fast", "app"])
def test_cookies_may_come_in_several_fields(served: RunningServer, plane: str) -> None:
    """A proxy may forward an HTTP/2 client's cookie fields unjoined (RFC 9113, section 8.2.3)."""
    lines = ("Cookie: a=1", "X-A: b", "cookie: b=2; c=3", "COOKIE: d=4")
    for name, value in (("a", b"1"), ("b", b"2"), ("c", b"3"), ("d", b"4"), ("e", b"none")):
        assert ask(served, build_get(f"/{plane}/cookie/{name}", *lines)).body == value


PACKED = gzip.compress(b"a body", mtime=0)


@pytest.mark.parametrize("path", ["/fast/body", "/fast/small", "/app/body", "/app/streamed"])
@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", "br", "deflate", "identity, gzip"])
def test_a_compressed_body_is_refused_before_it_is_read(
    served: RunningServer, path: str, coding: str
) -> None:
    lines = (f"Content-Encoding: {coding}", "Expect: 100-continue")
    for data in (
        build_request("POST", path, lines[0], body=PACKED),
        build_request("POST", path, lines[0], "Transfer-Encoding: chunked") + encode_chunks(PACKED),
        build_request("POST", path, *lines, f"Content-Length: {len(PACKED)}"),
    ):
        with served.connect() as peer:
            peer.send(data)
            answer = peer.read_response()
        assert (answer.status, answer.interim_statuses) == (415, [])
        assert answer.header("Accept-Encoding") == "identity"
        assert b"without Content-Encoding" in answer.body


@pytest.mark.parametrize("path", ["/fast/body", "/fast/small", "/app/body", "/app/streamed"])
def test_an_uncompressed_body_is_accepted(served: RunningServer, path: str) -> None:
    for lines in (
        ("Content-Encoding: identity",),
        ("Content-Encoding: Identity , identity",),
        ("Content-Encoding:",),
        ("Content-Encoding: identity", "Content-Encoding: identity"),
    ):
        answer = ask(served, build_request("POST", path, *lines, body=b"a body"))
        assert (answer.status, answer.body) == (200, b"a body")


def test_a_coding_without_a_body_is_ignored(served: RunningServer) -> None:
    for path in ("/fast/hello", "/app/uri"):
        assert ask(served, build_get(path, "Content-Encoding: gzip")).status == 200
    answer = ask(served, build_request("POST", "/app/body", "Content-Encoding: gzip"))
    assert answer.status == 200


def test_the_connection_closes_after_a_compressed_body(served: RunningServer) -> None:
    with served.connect() as peer:
        peer.send(build_request("POST", "/app/body", "Content-Encoding: gzip", body=PACKED))
        peer.send(build_get("/fast/hello"))
        answers = parse_responses(peer.read_to_end())
    assert [each.status for each in answers] == [415]


@pytest.mark.parametrize(
    "kind",
    [
        "application/x-www-form-urlencoded",
        "Application/X-WWW-Form-Urlencoded;charset=UTF-8",
    ],
)
def test_a_form_may_name_its_media_type_in_any_case(served: RunningServer, kind: str) -> None:
    asked = build_request("POST", "/app/form", f"Content-Type: {kind}", body=b"name=a")
    assert ask(served, asked).body == b"a"


def test_a_multipart_form_may_name_its_media_type_in_any_case(served: RunningServer) -> None:
    body = b'--aB\r\nContent-Disposition: form-data; name="name"\r\n\r\nb\r\n--aB--\r\n'
    asked = build_request(
        "POST",
        "/app/form",
        "Content-Type: Multipart/Form-Data; boundary=aB",
        body=body,
    )
    assert ask(served, asked).body == b"b"
