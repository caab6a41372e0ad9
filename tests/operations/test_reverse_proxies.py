"""Behind nginx and Caddy with the files of `deploy/`: client address, limits, streaming."""

import asyncio
import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tornado.web import Application, RequestHandler

from httpserver import Server, bind_tcp
from tests.support import ROOT
from tests.support.events.events_api import EventsApp
from tests.support.events.hostile_bodies import event_body
from tests.support.server_process import MarqueeProcess, ServerResponse
from tests.support.web.admin_session import AdminBrowser, owner_credentials
from tests.support.web.admin_uploads import upload_files

DEPLOY = ROOT / "deploy"
LINE = (
    b'{"session_id":"s","category":"c","name":"n","data":{},"timestamp":"2021-01-01T00:00:00Z"}\n'
)
# The client connects from another loopback address; the proxy is 127.0.0.1.
CLIENT = "127.0.0.2"
NGINX = """
daemon off; worker_processes 1; error_log stderr; pid {folder}/pid;
events {{ worker_connections 64; }}
http {{
    access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/a; uwsgi_temp_path {folder}/b; scgi_temp_path {folder}/c;
    include {folder}/marquee.conf;
}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("certificate")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=marquee.example.com", "-days", "2", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


class Front:
    """A proxy process in front of a local port."""

    def __init__(self, port: int, process: "subprocess.Popen[bytes]") -> None:
        self.port = port
        self.process = process

    def connect(self) -> http.client.HTTPSConnection:
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, context=context, timeout=120, source_address=(CLIENT, 0)
        )
        # The certificate of Caddy has only this name.
        connect = connection._create_connection
        connection._create_connection = lambda address, *rest: connect(
            ("127.0.0.1", self.port), *rest
        )
        connection.host = "marquee.example.com"
        return connection

    def request(self, path: str, method: str = "GET", body: bytes | None = None, **headers: str):
        with contextlib.closing(self.connect()) as connection:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            return ServerResponse(connection.getresponse())


def nginx(folder: Path, target: int, port: int, certificate: tuple[Path, Path]) -> list[str]:
    text = (DEPLOY / "nginx.conf").read_text()
    for was, now, times in (
        ("server 127.0.0.1:8000", f"server 127.0.0.1:{target}", 1),
        ("    listen 443", f"    listen 127.0.0.1:{port}", 1),
        ("    listen [::]:443", "    # listen [::]:443", 1),
        ("    listen 80;\n    listen [::]:80;", f"    listen 127.0.0.1:{free_port()};", 1),
        ("/etc/letsencrypt/live/marquee.example.com/fullchain.pem", str(certificate[0]), 1),
        ("/etc/letsencrypt/live/marquee.example.com/privkey.pem", str(certificate[1]), 1),
    ):
        assert text.count(was) == times, was
        text = text.replace(was, now)
    (folder / "marquee.conf").write_text(text)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
    return ["nginx", "-c", f"{folder}/nginx.conf", "-p", str(folder), "-e", "stderr"]


def caddy(folder: Path, target: int, port: int, certificate: tuple[Path, Path]) -> list[str]:
    text = (DEPLOY / "Caddyfile").read_text()
    site = f"https://marquee.example.com:{port} {{\n\tbind 127.0.0.1\n\ttls {certificate[0]} "
    for was, now in (
        ("127.0.0.1:8000", f"127.0.0.1:{target}"),
        ("\nmarquee.example.com {", f"\n{site}{certificate[1]}"),
    ):
        assert text.count(was) == 1, was
        text = text.replace(was, now)
    head = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n"
    (folder / "Caddyfile").write_text(head + text)
    return ["caddy", "run", "--config", f"{folder}/Caddyfile", "--adapter", "caddyfile"]


@pytest.fixture(scope="module", params=[nginx, caddy])
def front(request, tmp_path_factory, certificate) -> Iterator[Callable[[int], Front]]:
    """Return a function that starts a proxy in front of a port."""
    name = request.param.__name__
    if not shutil.which(name):
        pytest.skip(f"{name} is not here")
    running: list[subprocess.Popen[bytes]] = []

    def begin(target: int) -> Front:
        folder, port = tmp_path_factory.mktemp(name), free_port()
        words = request.param(folder, target, port, certificate)
        home = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(words, env={**os.environ, **home}, stdout=log, stderr=log)
        running.append(process)
        until = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return Front(port, process)
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < until
                time.sleep(0.05)

    yield begin
    for process in running:
        process.terminate()
        process.wait(120)


@pytest.fixture(scope="module")
def behind(front, tmp_path_factory) -> Iterator[tuple[Front, MarqueeProcess]]:
    """A server behind the proxy."""
    data = tmp_path_factory.mktemp("behind") / "data"
    server = MarqueeProcess(data, "--sample", "--access-log", "--proxies", "127.0.0.1")
    yield front(server.port), server
    assert server.stop() == 0, server.log
    assert "Traceback" not in server.log


def seen(server: MarqueeProcess, path: str) -> str:
    """Return the client address of a request from the access log of the server."""
    for _ in range(100):
        for line in list(server.stderr_lines):
            if f" {path} " in line:
                return re.search(r"\b(\d+\.\d+\.\d+\.\d+)\b", line.partition("access: ")[2])[1]
        time.sleep(0.05)
    raise AssertionError(server.log)


FORGED = [
    {},
    {"X_Forwarded_For": "203.0.113.7"},
    {"X_Forwarded_For": "203.0.113.7, 127.0.0.1"},
    {"Forwarded": "for=203.0.113.7;proto=http"},
    {"Forwarded": "for=203.0.113.7", "X_Forwarded_For": "203.0.113.7"},
    {"X_Real_IP": "203.0.113.7"},
]


@pytest.mark.parametrize("forged", range(len(FORGED)))
def test_the_client_address_cannot_be_forged_through_a_proxy(behind, forged):
    front, server = behind
    path = f"/nothing/{forged}"
    assert front.request(path, **FORGED[forged]).status == 404
    assert seen(server, path) == CLIENT


def test_the_proxy_forwards_that_the_client_uses_tls(behind):
    front, server = behind
    for claim in ({}, {"X_Forwarded_Proto": "http"}):
        answer = front.request("/campaigns/1/", **claim)
        assert answer.headers["Set-Cookie"].endswith("; Secure")
    assert not server.request("/campaigns/1/").headers["Set-Cookie"].endswith("; Secure")
    assert answer.headers.get_all("Strict-Transport-Security") == ["max-age=31536000"]


def test_metrics_are_not_public_behind_the_proxy(behind):
    front, server = behind
    for figures in ("/metrics", "/readyz"):
        assert front.request(figures).status == 403
        assert server.request(figures).status == 200
    assert front.request("/healthz").body == b"ok\n"


def test_the_proxy_forwards_event_lines_before_the_body_ends(behind):
    front, server = behind
    app = EventsApp(server)
    rows = LINE * 4_000

    def chunks() -> Iterator[bytes]:
        yield rows
        until = time.monotonic() + 120
        while not app.request("/events?limit=1000&name=n").json()["events"]:
            assert time.monotonic() < until, "the front keeps the body to itself"
            time.sleep(0.05)
        yield rows

    with contextlib.closing(front.connect()) as connection:
        headers = {
            "Authorization": f"Bearer {app.secret_token}",
            "Content-Type": "application/x-ndjson",
        }
        connection.request("POST", "/events", chunks(), headers, encode_chunked=True)
        answer = connection.getresponse()
        assert answer.status == 202
        assert len(json.loads(answer.read())["results"]) == 8_000


def test_a_too_large_body_is_413_behind_a_proxy(behind):
    front, server = behind
    app = EventsApp(server)
    headers = {"Authorization": f"Bearer {app.secret_token}", "Content-Type": "application/json"}
    try:
        status = front.request(
            "/events", "POST", event_body(data={"x": "y" * 300_000}), **headers
        ).status
    except (ConnectionError, ssl.SSLError):
        pytest.fail("the connection closed without a response")
    assert status == 413


def test_an_upload_may_be_larger_than_events(behind):
    front, server = behind
    owner = AdminBrowser(front).log_in(*owner_credentials(server))
    answer = upload_files(owner, ("large.zip", b"x" * 17_000_000))
    assert answer.status == 303, answer.text  # to what becomes of it


class ServerSentEventsHandler(RequestHandler):
    """Server-sent events, each sent after the client confirmed the last one."""

    async def get(self) -> None:
        self.set_header("Content-Type", "text/event-stream")
        for number in range(3):
            self.write(f"data: {number}\n\n")
            await self.flush()
            await asyncio.get_running_loop().run_in_executor(None, HEARD.acquire, True, 15)


HEARD = threading.Semaphore(0)


@pytest.fixture
def streaming() -> Iterator[int]:
    """The port of a test server that streams."""
    loop, sockets = asyncio.new_event_loop(), bind_tcp("127.0.0.1", 0)
    server = Server(Application([(r"/stream", ServerSentEventsHandler)]))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.listen(sockets), loop).result(10)
    yield sockets[0].getsockname()[1]
    asyncio.run_coroutine_threadsafe(server.drain(1), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(120)
    loop.close()


def test_the_proxy_forwards_server_sent_events_one_by_one(front, streaming):
    with contextlib.closing(front(streaming).connect()) as connection:
        connection.request("GET", "/stream")
        answer = connection.getresponse()
        for number in range(3):
            assert answer.readline() == f"data: {number}\n".encode()
            assert answer.readline() == b"\n"
            HEARD.release()
        assert answer.read() == b""


@pytest.mark.skipif(not shutil.which("caddy"), reason="caddy is not here")
def test_the_caddyfile_is_formatted(tmp_path):
    words = ["caddy", "fmt", DEPLOY / "Caddyfile"]
    done = subprocess.run(words, capture_output=True, text=True, env={"HOME": str(tmp_path)})
    assert done.stdout == (DEPLOY / "Caddyfile").read_text()
