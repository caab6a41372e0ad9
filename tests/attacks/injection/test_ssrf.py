"""SSRF: nothing that a request says makes this server ask another, or ask for something else.

One address is asked at all: `upstream`, which is the owner's setting. A visitor says the host and
key that it is asked about, and both are values of its query or of a header. Targets of banners are
told to browsers, and never asked for; schemas refer to nothing elsewhere (test_schema_bombs.py).
"""

import json
import socket
import threading
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest

from app.settings import SettingError, resolve_settings
from tests.support.audience.audience_site import wait_for
from tests.support.server_process import MarqueeProcess
from tests.support.web.attack_target import AttackTarget, UnprotectedProcess, with_query


class Listener:
    """Listens on a port of this machine, and keeps the heads of what comes."""

    def __init__(self, response: bytes = b"") -> None:
        self.response = response
        self.heads: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        while True:
            try:
                there, _ = self._socket.accept()
            except OSError:
                return
            with there:
                there.settimeout(2)
                head = b""
                while b"\r\n\r\n" not in head and (piece := there.recv(65_536)):
                    head += piece
                self.heads.append(head)
                there.sendall(self.response)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)


PAGES = json.dumps([{"i": "A page", "path": "/", "visitors": 4}]).encode()
RIGHT = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(PAGES) + PAGES


@pytest.fixture(scope="module")
def inside() -> Iterator[Listener]:
    """A server of the inner network, that nobody out there may reach."""
    made = Listener(RIGHT)
    yield made
    made.close()


@pytest.fixture(scope="module")
def upstream() -> Iterator[Listener]:
    made = Listener(RIGHT)
    yield made
    made.close()


@pytest.fixture(scope="module", params=["legacy", "v3"])
def following(request, upstream, tmp_path_factory) -> Iterator[MarqueeProcess]:
    data = tmp_path_factory.mktemp("following") / "data"
    words = ("--upstream", f"http://127.0.0.1:{upstream.port}", "--upstream-version", request.param)
    made = MarqueeProcess(data, *words)
    yield made
    assert made.stop() == 0
    assert "Traceback" not in made.log


# What a visitor says in the place of a host, or of a key; {} is the port of the inner server.
SAID = [
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


@pytest.mark.parametrize("said", SAID, ids=range(len(SAID)))
def test_what_a_visitor_says_is_a_value_of_the_one_question(following, upstream, inside, said):
    said = said.format(inside.port)
    upstream.heads.clear()
    for path in ("/api/v1.0/increasingconcurrents", "/live/toppages/"):
        following.request(with_query(path, apikey=said, host="www.example.com"))
        following.request(with_query(path, apikey="key", host=said))
        following.request(with_query(path, apikey=said, host=said))
    following.request(f"/live/{with_query('', x=said)[3:]}?{with_query('', apikey='key')[1:]}")
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
    assert inside.heads == []


REDIRECTS = ["http://127.0.0.1:{}/", "//127.0.0.1:{}/", "http://localhost:{}/live/toppages/",
             "http://[::ffff:127.0.0.1]:{}/"]  # fmt: skip


def redirected(kind: type, data, place: str, status: int, inside: Listener) -> bool:
    """Whether an upstream has a server ask the inner one."""
    inside.heads.clear()
    location = place.format(inside.port)
    response = f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
    upstream = Listener(response.encode())
    server = kind(data, "--upstream", f"http://127.0.0.1:{upstream.port}")
    try:
        server.request(
            with_query("/api/v1.0/increasingconcurrents", apikey="k", host="www.example.com")
        )
        wait_for(lambda: upstream.heads)
    finally:
        server.stop()
        upstream.close()
    return bool(inside.heads)


@pytest.mark.parametrize(("place", "status"), [(REDIRECTS[0], 302), (REDIRECTS[1], 307)])
def test_a_redirect_of_the_upstream_is_not_followed(tmp_path, inside, place, status):
    assert not redirected(MarqueeProcess, tmp_path / "data", place, status, inside)


def test_without_the_guard_it_is(tmp_path, inside):
    assert redirected(UnprotectedProcess, tmp_path / "data", REDIRECTS[0], 302, inside)


def test_a_target_is_told_and_never_asked_for(target: AttackTarget, inside):
    inside.heads.clear()
    content = f"banner_id,url\n1,http://127.0.0.1:{inside.port}/inside\n".encode()
    target.wait_for_upload(target.upload(("targets.csv", content)))
    response = target.server.request("/campaigns/1/banners/1/click")
    assert response.status in (302, 404)
    assert inside.heads == []


@pytest.mark.parametrize(
    "said",
    ["file:///etc/passwd", "gopher://x/", "ftp://x/", "http://", "x", "http://x?y", "http://x#y",
     "http://user:password@x/", "http://x@y", "unix:/run/x", "http://x:port/"],
)  # fmt: skip
def test_an_upstream_is_an_address_of_the_web_without_a_password(said):
    with pytest.raises(SettingError, match="upstream: "):
        resolve_settings({"upstream": said}, {}, None)
