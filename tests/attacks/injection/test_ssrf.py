"""SSRF: no request value makes the server send requests to another host or path.

The server sends requests only to the owner's setting `upstream`. The host and key of a visitor are
values of its query or a header. The server never requests targets of banners, and schemas cannot
refer to other hosts (test_schema_bombs.py).
"""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from app.settings import SettingError, resolve_settings
from tests.support.audience.audience_site import wait_for
from tests.support.server_process import MarqueeProcess
from tests.support.web.attack_target import AttackTarget, UnprotectedProcess, with_query


class RecordingListener:
    """Listens on a local port, records request heads and sends a fixed response."""

    def __init__(self, response: bytes = b"") -> None:
        self.response = response
        self.heads: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(2)
                head = b""
                while b"\r\n\r\n" not in head and (piece := connection.recv(65_536)):
                    head += piece
                self.heads.append(head)
                connection.sendall(self.response)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


PAGES = json.dumps([{"i": "A page", "path": "/", "visitors": 4}]).encode()
PAGES_RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(PAGES) + PAGES
)


@pytest.fixture(scope="module")
def inner_server() -> Iterator[RecordingListener]:
    """A server of the internal network, which clients must not reach."""
    listener = RecordingListener(PAGES_RESPONSE)
    yield listener
    listener.close()


@pytest.fixture(scope="module")
def upstream() -> Iterator[RecordingListener]:
    listener = RecordingListener(PAGES_RESPONSE)
    yield listener
    listener.close()


@pytest.fixture(scope="module", params=["legacy", "v3"])
def following_server(request, upstream, tmp_path_factory) -> Iterator[MarqueeProcess]:
    data = tmp_path_factory.mktemp("following") / "data"
    options = (
        "--upstream",
        f"http://127.0.0.1:{upstream.port}",
        "--upstream-version",
        request.param,
    )
    server = MarqueeProcess(data, *options)
    yield server
    assert server.stop() == 0
    assert "Traceback" not in server.log


# Values for host and key; {} is the port of the internal server.
HOSTILE_VALUES = [
    "127.0.0.1:{}",
    "http://127.0.0.1:{}/",
    "//127.0.0.1:{}/",
    "@127.0.0.1:{}/",
    "x@127.0.0.1:{}",
    "x#@127.0.0.1:{}/",
    "x?@127.0.0.1:{}",
    "x&host=127.0.0.1:{}",
    "x;host=127.0.0.1:{}",
    "localhost:{}",
    "[::1]:{}",
    "0x7f000001:{}",
    "2130706433:{}",
    "127.1:{}",
    "127.0.0.1.nip.example:{}",
    "../../../admin",
    "x/../../inside",
    "x%0d%0aHost:%20127.0.0.1:{}",
    "x\r\nHost: 127.0.0.1:{}\r\n\r\nGET /inside HTTP/1.1",
    "x HTTP/1.1\r\nX: y",
    "\u0131\u0274\u0295ide",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{}/_x",
    "x\0.example",
]


@pytest.mark.parametrize("value", HOSTILE_VALUES, ids=range(len(HOSTILE_VALUES)))
def test_visitor_values_stay_in_the_upstream_query(following_server, upstream, inner_server, value):
    value = value.format(inner_server.port)
    upstream.heads.clear()
    for path in ("/api/v1.0/increasingconcurrents", "/live/toppages/"):
        following_server.request(with_query(path, apikey=value, host="www.example.com"))
        following_server.request(with_query(path, apikey="key", host=value))
        following_server.request(with_query(path, apikey=value, host=value))
    following_server.request(
        f"/live/{with_query('', x=value)[3:]}?{with_query('', apikey='key')[1:]}"
    )
    for head in upstream.heads:
        line, *fields = head.decode("latin-1").split("\r\n")
        method, target, version = line.split(" ")
        assert (method, version) == ("GET", "HTTP/1.1")
        parts = urlsplit(target)
        assert parts.path in ("/live/toppages/", "/live/toppages/v3/")
        assert set(parse_qs(parts.query)) <= {"host", "apikey", "limit"}
        names = [field.partition(":")[0].lower() for field in fields if field]
        assert len(names) == len(set(names))
        assert f"Host: 127.0.0.1:{upstream.port}" in fields
    assert inner_server.heads == []


REDIRECTS = ["http://127.0.0.1:{}/", "//127.0.0.1:{}/", "http://localhost:{}/live/toppages/",
             "http://[::ffff:127.0.0.1]:{}/"]  # fmt: skip


def is_redirect_followed(
    kind: type[MarqueeProcess], data: Path, url: str, status: int, inner_server: RecordingListener
) -> bool:
    """Return whether the server follows a redirect of its upstream to the internal server."""
    inner_server.heads.clear()
    location = url.format(inner_server.port)
    response = f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    upstream = RecordingListener(response.encode())
    server = kind(data, "--upstream", f"http://127.0.0.1:{upstream.port}")
    try:
        server.request(
            with_query("/api/v1.0/increasingconcurrents", apikey="k", host="www.example.com")
        )
        wait_for(lambda: upstream.heads)
    finally:
        server.stop()
        upstream.close()
    return bool(inner_server.heads)


@pytest.mark.parametrize(("url", "status"), [(REDIRECTS[0], 302), (REDIRECTS[1], 307)])
def test_upstream_redirect_is_not_followed(tmp_path, inner_server, url, status):
    assert not is_redirect_followed(MarqueeProcess, tmp_path / "data", url, status, inner_server)


def test_unprotected_server_follows_upstream_redirect(tmp_path, inner_server):
    assert is_redirect_followed(
        UnprotectedProcess, tmp_path / "data", REDIRECTS[0], 302, inner_server
    )


def test_banner_target_is_never_requested(target: AttackTarget, inner_server):
    inner_server.heads.clear()
    content = f"banner_id,url\n1,http://127.0.0.1:{inner_server.port}/inside\n".encode()
    target.wait_for_upload(target.upload(("targets.csv", content)))
    response = target.server.request("/campaigns/1/banners/1/click")
    assert response.status in (302, 404)
    assert inner_server.heads == []


@pytest.mark.parametrize(
    "upstream_url",
    ["file:///etc/passwd", "gopher://x/", "ftp://x/", "http://", "x", "http://x?y", "http://x#y",
     "http://user:password@x/", "http://x@y", "unix:/run/x", "http://x:port/"],
)  # fmt: skip
def test_upstream_setting_requires_http_url_without_password(upstream_url):
    with pytest.raises(SettingError, match="upstream: "):
        resolve_settings({"upstream": upstream_url}, {}, None)
