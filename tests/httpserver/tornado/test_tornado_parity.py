"""An unchanged Tornado application responds on this server as on Tornado's own.

There, `Normalized` stands before it: see test_request_normalizer.py.
"""

import asyncio
import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tornado.iostream import StreamClosedError
from tornado.web import (
    Application,
    ErrorHandler,
    Finish,
    HTTPError,
    MissingArgumentError,
    RedirectHandler,
    RequestHandler,
    StaticFileHandler,
    authenticated,
    stream_request_body,
)

from httpserver import FastRoute, Request, RequestNormalizer, Response, tornado_rules
from tests.support.httpserver.echo_application import no_access_log
from tests.support.httpserver.raw_client import (
    RawClient,
    RawResponse,
    build_get,
    build_request,
    encode_chunks,
    parse_responses,
)
from tests.support.httpserver.server_thread import RunningServer, ServerThread

TEXT = "".join(f"line {number} of a text that compresses well\n" for number in range(200))


class Plain(RequestHandler):
    def head(self) -> None:
        self.get()

    def get(self) -> None:
        self.write("plain")

    def post(self) -> None:
        self.write({"body": self.request.body.decode(), "arguments": self.argument_lists()})

    def argument_lists(self) -> dict[str, list[str]]:
        return {name: self.get_arguments(name) for name in sorted(self.request.arguments)}

    def options(self) -> None:
        self.set_header("Allow", "GET, HEAD, POST, OPTIONS")
        self.set_status(204)


class GetOnly(RequestHandler):
    def get(self) -> None:
        self.finish("get")


class DescribeRequestHandler(RequestHandler):
    """Responds with all properties of its request."""

    def get(self) -> None:
        asked = self.request
        self.write(
            {
                "method": asked.method,
                "uri": asked.uri,
                "path": asked.path,
                "query": asked.query,
                "version": asked.version,
                "protocol": asked.protocol,
                "host_name": asked.host_name,
                "remote_ip": asked.remote_ip,
                "headers": sorted(asked.headers.get_all()),
                "cookies": {name: each.value for name, each in asked.cookies.items()},
                "arguments": {k: [v.decode() for v in vs] for k, vs in asked.arguments.items()},
                "body": asked.body.decode(),
                "files": sorted(asked.files),
            }
        )

    post = put = delete = patch = get


class Flushing(RequestHandler):
    async def get(self, count: str) -> None:
        for number in range(int(count)):
            self.write(f"part {number} ")
            await self.flush()
            if number % 2:
                await asyncio.sleep(0)

    head = get


class Sized(RequestHandler):
    """Sends parts of a body after its Content-Length."""

    async def get(self) -> None:
        self.set_header("Content-Length", "6")
        for part in ("ab", "cd", "ef"):
            self.write(part)
            await self.flush()

    head = get


class LargeBodyHandler(RequestHandler):
    async def get(self) -> None:
        for number in range(40):
            self.write(bytes([number]) * 50_000)
            await self.flush()


@stream_request_body
class CountingUploadHandler(RequestHandler):
    """Counts its body, more slowly than it arrives."""

    async def prepare(self) -> None:
        self.size = self.calls = 0
        self.request.connection.set_max_body_size(50 << 20)  # type: ignore[union-attr]
        await asyncio.sleep(0)

    async def data_received(self, chunk: bytes) -> None:
        self.size += len(chunk)
        self.calls += 1
        await asyncio.sleep(0)

    def post(self) -> None:
        self.write({"size": self.size, "called": self.calls > 0})

    put = post


class Cookies(RequestHandler):
    def get(self) -> None:
        self.set_cookie("a", "1", path="/a", httponly=True, samesite="Lax")
        self.set_cookie("b", "2", max_age=60)
        self.clear_cookie("c")
        self.write(self.get_cookie("had", "nothing"))


class XsrfFormHandler(RequestHandler):
    """Guarded by the XSRF cookie."""

    def get(self) -> None:
        self.write(str(len(self.xsrf_token)))
        self.clear_header("Etag")

    def post(self) -> None:
        self.write("posted " + self.get_body_argument("a"))


class Raising(RequestHandler):
    def get(self, what: str) -> None:
        match what:
            case "error":
                raise HTTPError(418)
            case "reason":
                raise HTTPError(499, "not shown", reason="Because")
            case "argument":
                raise MissingArgumentError("a")
            case "fault":
                raise RuntimeError("a fault")
            case "finish":
                self.set_status(202)
                raise Finish("early")
            case "late":
                self.write("half")
                self.flush()
                raise RuntimeError("too late")
            case "file":
                raise HTTPError(404)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish({"error": status_code, "reason": self._reason})


class BodilessHandler(RequestHandler):
    def get(self, status: str) -> None:
        self.set_status(int(status))

    head = get


class Wrong(RequestHandler):
    """Sends more or less than its Content-Length."""

    def get(self, how: str) -> None:
        self.set_header("Content-Length", "5")
        self.finish("1234" if how == "short" else "123456")


class Closing(RequestHandler):
    def get(self) -> None:
        self.set_header("Connection", "close")
        self.write("closing")


class Guarded(RequestHandler):
    def get_current_user(self) -> str | None:
        return self.get_cookie("user")

    @authenticated
    def get(self) -> None:
        self.write(f"hello {self.current_user}")


class Late(RequestHandler):
    async def get(self) -> None:
        await asyncio.sleep(0.02)
        self.write("late")


class InterimResponseHandler(RequestHandler):
    """Sends an interim response first."""

    def get(self) -> None:
        self.redirect("/plain?x=ä", status=303)


class Counted(StaticFileHandler):
    pass


def build(folder: Path, **settings: Any) -> Application:
    routes = [
        (r"/plain", Plain),
        (r"/get", GetOnly),
        (r"/describe", DescribeRequestHandler),
        (r"/flush/(\d+)", Flushing),
        (r"/sized", Sized),
        (r"/large", LargeBodyHandler),
        (r"/streamed", CountingUploadHandler),
        (r"/cookies", Cookies),
        (r"/form", XsrfFormHandler),
        (r"/raise/(\w+)", Raising),
        (r"/status/(\d+)", BodilessHandler),
        (r"/wrong/(\w+)", Wrong),
        (r"/closing", Closing),
        (r"/guarded", Guarded),
        (r"/late", Late),
        (r"/moved/(.*)", RedirectHandler, {"url": "/plain?{0}", "permanent": False}),
        (r"/see", InterimResponseHandler),
        (r"/files/(.*)", StaticFileHandler, {"path": str(folder), "default_filename": "a.txt"}),
        (r"/gone", ErrorHandler, {"status_code": 410}),
    ]
    return Application(
        routes, log_function=no_access_log, login_url="/login", cookie_secret="secret", **settings
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    (folder / "a.txt").write_text(TEXT)
    (folder / "empty.txt").write_text("")
    (folder / "big.bin").write_bytes(bytes(range(256)) * 8192)
    (folder / "script.js").write_text("let a = 1;\n" * 500)
    (folder / "deep").mkdir()
    return folder


class Both:
    """The same application on both servers."""

    def __init__(
        self, stage: ServerThread, application: Application, fast_routes: Sequence[FastRoute] = ()
    ) -> None:
        self.ours = stage.serve(application, fast_routes)
        self.theirs = stage.serve_tornado(RequestNormalizer(application), max_body_size=256 << 10)

    def request(self, data: bytes, method: str | None = None) -> tuple[RawResponse, RawResponse]:
        """Return both responses; check that both connections are then in the same state."""
        method = method or data.split(b" ", 1)[0].decode()
        answers = []
        for served in (self.ours, self.theirs):
            with served.connect() as peer:
                peer.send(data)
                answers.append(read(peer, method))
        return answers[0], answers[1]


def read(peer: RawClient, method: str) -> RawResponse:
    try:
        answer = peer.read_response(method)
    except EOFError:
        return RawResponse(0, "closed", [], peer.buffer)
    # Both must keep or both must close the connection; the Connection field may differ.
    answer.headers = [each for each in answer.headers if each[0].lower() != "connection"]
    answer.reason += " (kept)" if kept(peer) else " (closed)"
    return answer


def kept(peer: RawClient) -> bool:
    """Return whether a second request is answered."""
    try:
        return peer.request(build_get("/status/204")).status == 204
    except EOFError:
        return False


@pytest.fixture(scope="module")
def both(stage: ServerThread, folder: Path) -> Both:
    return Both(stage, build(folder))


def same(both: Both, data: bytes, method: str | None = None) -> RawResponse:
    ours, theirs = both.request(data, method)
    assert ours.comparable() == theirs.comparable()
    return ours


UNSIZED = ("/flush/1", "/flush/30", "/large")  # without a Content-Length
FORM = "Content-Type: application/x-www-form-urlencoded"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@pytest.mark.parametrize(
    "path", ["/plain", "/get", "/describe", "/missing", "/gone", "/files/a.txt", "/moved/x", "/"]
)
def test_methods_of_a_path_match_tornado(both: Both, path: str) -> None:
    for method in METHODS:
        assert same(both, build_request(method, path)).status


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/flush/0", 200),
        ("/flush/1", 200),
        ("/flush/30", 200),
        ("/sized", 200),
        ("/large", 200),
        ("/cookies", 200),
        ("/raise/error", 418),
        ("/raise/reason", 499),
        ("/raise/argument", 400),
        ("/raise/finish", 202),
        ("/raise/file", 404),
        ("/status/200", 200),
        ("/status/204", 204),
        ("/status/304", 304),
        ("/status/404", 404),
        ("/guarded", 302),
        ("/guarded?a=b", 302),
        ("/late", 200),
        ("/moved/a=b", 302),
        ("/see", 303),
        ("/describe?a=1&a=2&b=%C3%A4&c", 200),
        ("/describe?a=%zz&;&&=", 200),
        ("/%70lain", 200),
        ("/plain%00", 404),
        ("//plain", 404),
        ("/files/", 200),
        ("/files/deep", 301),
        ("/files/missing", 404),
        ("/files/empty.txt", 200),
        ("/files/big.bin", 200),
        ("/files/../a.txt", 403),
        ("/files/%2e%2e/a.txt", 403),
        ("/files/a.txt?v=1", 200),
    ],
)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_paths_match_tornado(both: Both, path: str, status: int, version: str) -> None:
    assert same(both, build_get(path, version=version)).status == status
    assert same(both, build_get(path, "Connection: close", version=version)).status == status
    assert same(both, build_request("HEAD", path, version=version))
    if version == "1.0" and path in UNSIZED:
        # Tornado never ends the body for such a client.
        with both.ours.connect() as peer:
            peer.send(build_get(path, "Connection: keep-alive", version=version))
            (answer,) = parse_responses(peer.read_to_end())
            assert answer.body == same(both, build_get(path)).body
    else:
        assert (
            same(both, build_get(path, "Connection: keep-alive", version=version)).status == status
        )


def test_a_handler_error_is_500_and_logged_once(
    both: Both, caplog: pytest.LogCaptureFixture
) -> None:
    assert same(both, build_get("/raise/fault")).status == 500
    errors = [each for each in caplog.records if each.levelname == "ERROR"]
    assert len(errors) == 2  # one per server
    caplog.clear()


def test_a_handler_error_after_the_head_matches_tornado(
    both: Both, caplog: pytest.LogCaptureFixture
) -> None:
    assert same(both, build_get("/raise/late")).status == 200
    caplog.clear()


def test_a_handler_may_close_the_connection(both: Both) -> None:
    with both.ours.connect() as peer:
        peer.send(build_get("/closing") + build_get("/plain"))
        assert [
            (each.body, each.closes_connection) for each in parse_responses(peer.read_to_end())
        ] == [(b"closing", True)]


@pytest.mark.parametrize("how", ["short", "long"])
def test_a_wrong_content_length_does_not_affect_the_next_response(
    both: Both, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    with both.ours.connect() as peer:
        peer.send(build_get(f"/wrong/{how}") + build_get("/plain"))
        answered = peer.read_to_end()
    assert answered.count(b"HTTP/1.1 ") <= 1
    assert b"123456" not in answered
    caplog.clear()


@pytest.mark.parametrize(
    "headers",
    [
        ("Range: bytes=0-9",),
        ("Range: bytes=10-",),
        ("Range: bytes=-10",),
        ("Range: bytes=0-0",),
        ("Range: bytes=0-999999999",),
        ("Range: bytes=999999999-",),
        ("Range: bytes=9-1",),
        ("Range: bytes=a-b",),
        ("Range: bytes=0-1,3-4",),
        ("Range: lines=0-1",),
        ("If-None-Match: *",),
        ('If-None-Match: "wrong"',),
        ("If-Modified-Since: Mon, 01 Jan 2001 00:00:00 GMT",),
        ("If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT",),
        ("If-Modified-Since: never",),
        ("If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT", "Range: bytes=0-9"),
        ("Accept-Encoding: gzip",),
    ],
)
def test_range_and_conditional_file_requests_match_tornado(
    both: Both, headers: tuple[str, ...]
) -> None:
    for method in ("GET", "HEAD"):
        for path in ("/files/a.txt", "/files/empty.txt", "/files/big.bin"):
            same(both, build_request(method, path, *headers))


def test_a_current_etag_of_a_file_gets_304(both: Both) -> None:
    etag = same(both, build_get("/files/a.txt")).header("Etag")
    assert etag
    for value in (etag, f"W/{etag}", f'"x", {etag}'):
        answer = same(both, build_get("/files/a.txt", f"If-None-Match: {value}"))
        assert (answer.status, answer.body) == (304, b"")
    plain = same(both, build_get("/plain")).header("Etag")
    assert same(both, build_get("/plain", f"If-None-Match: {plain}")).status == 304


@pytest.mark.parametrize(
    "data",
    [
        build_request("POST", "/plain", FORM, body=b"a=1&b=2&b=%C3%A4"),
        build_request("POST", "/plain", FORM, body=b""),
        build_request("POST", "/plain", FORM, body=b"a=%ff"),
        build_request("POST", "/plain", "Content-Type: multipart/form-data; boundary=x",
                body=b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--x--\r\n'),
        build_request("POST", "/describe", "Content-Type: multipart/form-data; boundary=x",
                body=b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\n'
                b"1\r\n--x--\r\n"),
        build_request("POST", "/plain", "Content-Type: multipart/form-data", body=b"broken"),
        build_request("POST", "/plain", "Transfer-Encoding: chunked")
        + encode_chunks(b"a", b"bc", b"def"),
        build_request("PUT", "/describe", body=b"x" * 10_000),
        build_request("POST", "/streamed", body=b"x" * 200_000),
        build_request("POST", "/streamed", "Transfer-Encoding: chunked")
        + encode_chunks(*[b"x" * 999] * 99),
        build_request("POST", "/streamed"),
        build_request("PUT", "/streamed", body=b"x" * 3_000_000),
        build_request("DELETE", "/describe", body=b"body of a DELETE"),
        build_get("/cookies", "Cookie: had=this; c=d"),
        build_get("/describe", 'Cookie: a=1; b="2 3"; a=4; broken; =5; x=y=z'),
        build_get("/describe", "Cookie: a=1", "Cookie: b=2"),
        build_get("/describe", "X-A: b", "X-A: c", "x-a: d", "X-Empty:"),
        build_get("/describe", "X-A: \xe4\xf6"),
        build_get("/guarded", "Cookie: user=me"),
        build_get("/describe", "Accept: text/html, */*;q=0.1", "User-Agent: x"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore")
def test_requests_with_bodies_and_fields_match_tornado(both: Both, data: bytes) -> None:
    assert same(both, data).status


def test_the_gzip_transform_matches_tornado(stage: ServerThread, folder: Path) -> None:
    both = Both(stage, build(folder, compress_response=True))
    files = ("/files/a.txt", "/files/script.js")
    for path in (*files, "/plain", "/large", "/flush/30", "/status/304"):
        for accepted in ("gzip", "identity"):
            for method in ("GET", "HEAD"):
                asked = build_request(method, path, f"Accept-Encoding: {accepted}")
                ours, theirs = (unzipped(each) for each in both.request(asked))
                assert ours.comparable() == theirs.comparable()
    packed = both.request(build_get("/files/script.js", "Accept-Encoding: gzip"))[0]
    assert packed.header("Content-Encoding") == "gzip"
    assert gzip.decompress(packed.body) == b"let a = 1;\n" * 500


def unzipped(answer: RawResponse) -> RawResponse:
    """Decompress the body, since gzip output contains the time."""
    if answer.body.startswith(b"\x1f\x8b"):
        answer.body = gzip.decompress(answer.body)
    return answer


def test_the_xsrf_cookie_matches_tornado(stage: ServerThread, folder: Path) -> None:
    both = Both(stage, build(folder, xsrf_cookies=True))
    token = "_xsrf=abcdef0123"
    assert same(both, build_request("POST", "/form", FORM, body=b"a=1")).status == 403
    asked = build_request("POST", "/form", FORM, f"Cookie: {token}", body=f"a=1&{token}".encode())
    assert same(both, asked).body == b"posted 1"
    asked = build_request("POST", "/form", FORM, f"Cookie: {token}", body=b"a=1&_xsrf=other")
    assert same(both, asked).status == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((), 200),
        (("Sec-Fetch-Site: same-origin",), 200),
        (("Sec-Fetch-Site: none",), 200),
        (("Sec-Fetch-Site: cross-site",), 403),
        (("Sec-Fetch-Site: same-site",), 403),
        (("Origin: http://a.example",), 200),
        (("Origin: http://b.example",), 403),
        (("Origin: null",), 403),
    ],
)
def test_cross_origin_protection_matches_tornado(
    stage: ServerThread, folder: Path, headers: tuple[str, ...], status: int
) -> None:
    both = Both(stage, build(folder, cross_origin_protection=True))
    assert same(both, build_request("POST", "/plain", *headers, body=b"x")).status == status
    assert same(both, build_get("/plain", *headers)).status == 200


def test_default_handlers_and_host_routes_match_tornado(stage: ServerThread) -> None:
    app = Application(
        [(r"/", Plain)],
        log_function=no_access_log,
        default_handler_class=Plain,
        default_host="b.example",
    )
    app.add_handlers(r"c\.example", [(r"/", DescribeRequestHandler)])
    both = Both(stage, app)
    for host in ("a.example", "b.example", "c.example", "c.example:80"):
        for path in ("/", "/other"):
            data = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
            assert same(both, data).status in (200, 404)


class Bare:
    """A delegate that is not a tornado.web.Application."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def headers_received(self, start_line: Any, headers: Any) -> None:
        self.line = start_line

    def data_received(self, chunk: bytes) -> None:
        raise AssertionError("no body was sent")

    def finish(self) -> None:
        from tornado.httputil import HTTPHeaders, ResponseStartLine

        head = HTTPHeaders({"Content-Length": "4", "Date": "x"})
        self.connection.write_headers(ResponseStartLine("", 200, "OK"), head, b"bare")
        self.connection.finish()

    def on_connection_close(self) -> None:
        raise AssertionError("it stayed")


def test_any_connection_delegate_is_served(stage: ServerThread) -> None:
    from tornado.httputil import HTTPServerConnectionDelegate

    class Delegate(HTTPServerConnectionDelegate):
        def start_request(self, server_conn: object, request_conn: Any) -> Any:
            return Bare(request_conn)

    both = Both(stage, Delegate())  # type: ignore[arg-type]
    assert same(both, build_get("/status/204")).body == b"bare"


# Fast routes, on this server and in a plain application.


async def waited(request: Request) -> Response:
    await asyncio.sleep(0.01)
    return Response(201, [("X-Late", "yes"), ("Content-Type", "text/plain")], b"late")


def faulty(request: Request) -> Response:
    raise RuntimeError("a fast route's fault")


async def late_fault(request: Request) -> Response:
    await asyncio.sleep(0)
    raise RuntimeError("a fast route's late fault")


def describe(request: Request) -> Response:
    description = {
        "method": request.method,
        "target": request.target.decode("latin-1"),
        "path": request.path,
        "query": request.query.decode("latin-1"),
        "params": request.params,
        "body": request.body.decode("latin-1"),
        "host": request.host,
        "remote": request.client_address,
        "secure": request.secure,
        "agent": request.header("user-agent"),
        "none": request.header("X-None"),
        "a": request.query_argument("a"),
        "cookie": request.cookie("c"),
    }
    return Response(200, [("Content-Type", "application/json")], json.dumps(description).encode())


class Fallback(RequestHandler):
    """Responds to unknown paths."""

    def set_default_headers(self) -> None:
        self.set_header("X-Base", "yes")

    def prepare(self) -> None:
        raise HTTPError(404)


class SharedPathHandler(RequestHandler):
    """Shares its path with a fast route."""

    def get(self) -> None:
        self.write("a list of events")


def fast_routes() -> list[FastRoute]:
    cookies = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Location", "/x")]
    return [
        FastRoute("GET", r"/describe/(\w+)/(\d*)", describe, takes_body=True),
        FastRoute("POST", r"/describe/(\w+)/(\d*)", describe),
        FastRoute("POST", r"/events", describe),
        FastRoute("POST", r"/small", describe, body_limit=10),
        FastRoute("GET", r"/waited", waited),
        FastRoute("GET", r"/faulty", faulty),
        FastRoute("GET", r"/faulty/late", late_fault),
        FastRoute("GET", r"/status/(\d+)", lambda asked: Response(int(asked.params[0]))),
        FastRoute("GET", r"/redirect", lambda _: Response(302, cookies)),
        FastRoute(
            "GET", r"/page", lambda _: Response(200, [("Content-Type", "text/html")], b"<p>")
        ),
        FastRoute("GET", r"/none", lambda _: Response(200, (), b"no type")),
        FastRoute("GET", r"/tagged", lambda _: Response(200, [("ETag", '"x"')], b"tagged")),
        FastRoute("PUT", r"/put", describe),
        FastRoute("DELETE", r"/put", describe),
    ]


@pytest.fixture(scope="module")
def fast_route_pair(stage: ServerThread) -> Iterator[Both]:
    table = fast_routes()
    app = Application(
        tornado_rules(table, [(r"/events", SharedPathHandler), (r"/plain", Plain)], Fallback),
        default_handler_class=Fallback,
        log_function=no_access_log,
    )
    yield Both(stage, app, table)


@pytest.mark.parametrize(
    "path",
    [
        "/describe/a/1", "/describe/a/", "/describe/a/1?a=b&a=c", "/describe/a/1?a=%C3%A4",
        "/describe/a/1?a=%ff", "/describe/a/1?a=1+2", "/describe/a/1?", "/describe/%61/1",
        "/describe/a/1/", "/describe/a", "/events", "/small", "/waited", "/redirect", "/page",
        "/none", "/tagged", "/put", "/plain", "/missing",
        "/status/200", "/status/204", "/status/304", "/status/404", "/status/500",
    ],
)  # fmt: skip
def test_a_fast_route_responds_the_same_on_both_servers(fast_route_pair: Both, path: str) -> None:
    for method in METHODS:
        same(fast_route_pair, build_request(method, path))
        same(fast_route_pair, build_request(method, path, "Connection: close"))
        same(fast_route_pair, build_request(method, path, version="1.0"))
        if method not in ("GET", "HEAD"):
            same(fast_route_pair, build_request(method, path, body=b"0123456789"))


@pytest.mark.parametrize(
    "headers",
    [
        ("User-Agent: me", "Cookie: c=d"),
        ("Cookie: b=1; c=2; c=3",),
        ('Cookie: c="a b"',),
        ("Cookie: c=", "Cookie: c=1"),
        ("Cookie: xc=1",),
        ("Cookie: c",),
        ("Cookie: a=1", "Cookie: c=2"),
        ("Cookie: c=1", "Accept: a", "cookie: a=2; c=3"),
        ("User-Agent: a", "User-Agent: b"),
        ("User-Agent: \xe4",),
        ("X-Forwarded-For: 10.0.0.1", "X-Forwarded-Proto: https"),
        ("Forwarded: for=10.0.0.1;proto=https",),
        ("If-None-Match: *",),
    ],
)
def test_a_fast_route_gets_the_same_request_on_both_servers(
    fast_route_pair: Both, headers: tuple[str, ...]
) -> None:
    assert same(fast_route_pair, build_get("/describe/a/1", *headers)).status == 200
    assert same(fast_route_pair, build_get("/tagged", *headers)).status == 200


@pytest.mark.parametrize("path", ["/faulty", "/faulty/late"])
def test_an_error_of_a_fast_route_is_the_same_on_both_servers(
    fast_route_pair: Both, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    for method in ("GET", "HEAD"):
        assert same(fast_route_pair, build_request(method, path)).status == 500
        errors = [each for each in caplog.records if each.levelname == "ERROR"]
        assert len(errors) == 2  # one per server
        assert all("a fast route's" in str(each.exc_info) for each in errors)
        caplog.clear()


def test_the_body_limit_of_a_fast_route_holds_on_both_servers(fast_route_pair: Both) -> None:
    fits = same(fast_route_pair, build_request("POST", "/small", body=b"0123456789"))
    assert fits.status == 200
    for data in (
        build_request("POST", "/small", body=b"0123456789a"),
        build_request("POST", "/small", "Transfer-Encoding: chunked")
        + encode_chunks(b"012345", b"67890a"),
    ):
        ours, theirs = fast_route_pair.request(data)
        assert (ours.status, theirs.status) == (413, 413)
        assert ours.body == theirs.body


def test_allow_lists_methods_of_fast_routes_and_handlers(fast_route_pair: Both) -> None:
    for method, status in (("PATCH", 405), ("OPTIONS", 204)):
        answer = same(fast_route_pair, build_request(method, "/events"))
        assert answer.status == status
        allowed = {each.strip() for each in (answer.header("Allow") or "").split(",")}
        assert {"GET", "POST", "OPTIONS"} <= allowed
        assert "PATCH" not in allowed
        assert "PUT" not in allowed


class SlowStreamHandler(RequestHandler):
    closed: asyncio.Event

    async def get(self) -> None:
        self.closed = asyncio.Event()
        self.write("x")
        await self.flush()
        await asyncio.wait_for(self.closed.wait(), 10)
        SlowStreamHandler.seen = True
        try:
            await self.flush()
        except StreamClosedError:
            SlowStreamHandler.refused = True

    seen = refused = False

    def on_connection_close(self) -> None:
        self.closed.set()


def test_a_stream_notices_a_disconnect_on_both_servers(stage: ServerThread) -> None:
    SlowStreamHandler.seen = False
    served = stage.serve(
        Application(
            [(r"/slow", SlowStreamHandler), (r"/status/(\d+)", BodilessHandler)],
            log_function=no_access_log,
        )
    )
    with served.connect() as peer:
        peer.send(build_get("/slow"))
        while b"x\r\n" not in peer.buffer:
            peer.receive()
    gone(served)
    assert SlowStreamHandler.seen


def gone(served: RunningServer) -> None:
    for _ in range(200):
        with served.connect() as peer:
            assert peer.request(build_get("/status/204")).status == 204
        if SlowStreamHandler.seen:
            return
