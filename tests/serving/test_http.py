"""What clients and proxies send that a server must understand, at the product's own addresses."""

import gzip
import json
import socket

import pytest
from visitor import Visitor


@pytest.fixture(scope="module", params=["wire", "tornado"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    """A server with the sample, of both kinds."""
    from conftest import Running

    data = tmp_path_factory.mktemp(request.param) / "data"
    words = ("--sample", "--no-traffic", "--server", request.param, "--json")
    running = Running(data, *words)
    yield running
    assert running.stop() == 0, running.log
    assert "Traceback" not in running.log, running.log


def raw(server, *lines: str, body: bytes = b"") -> tuple[int, dict[str, list[str]], bytes]:
    """Send these lines as a head, with `body` behind it; status, fields and body of the answer."""
    head = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as peer:
        peer.sendall(head + body)
        data = b""
        while part := peer.recv(65_536):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    fields: dict[str, list[str]] = {}
    for line in rest:
        name, _, value = line.partition(":")
        fields.setdefault(name.lower(), []).append(value.strip())
    return int(first.split(" ")[1]), fields, body


def get(server, path: str, *lines: str, host: str = "localhost"):
    return raw(server, f"GET {path} HTTP/1.1", f"Host: {host}", *lines)


BODIES = [
    ("POST", "/events"),
    ("POST", "/api/v1/events/"),
    ("POST", "/api/v1/conversions"),
    ("PUT", "/events/1"),
    ("PUT", "/api/v1/rules/a/b"),
    ("POST", "/api/v1/rules/a/b/dry-run"),
    ("POST", "/api/v1/event/token_1"),
    ("POST", "/api/v1/beacon/token_1"),
    ("POST", "/admin/login"),
    ("POST", "/admin/campaigns/upload"),
    ("POST", "/nothing/here"),
]


@pytest.mark.parametrize(("method", "path"), BODIES)
def test_a_compressed_body_is_415_and_says_what_to_do(server, method, path):
    body = gzip.compress(b"{}")
    lines = ("Host: localhost", "Content-Encoding: gzip", f"Content-Length: {len(body)}")
    status, fields, said = raw(server, f"{method} {path} HTTP/1.1", *lines, body=body)
    assert (status, fields["accept-encoding"]) == (415, ["identity"])
    assert "without Content-Encoding" in json.loads(said)["detail"]
    lines = ("Host: localhost", "Content-Encoding: identity", "Content-Length: 2")
    assert raw(server, f"{method} {path} HTTP/1.1", *lines, body=b"{}")[0] != 415


@pytest.mark.parametrize(
    "path",
    [
        "/campaigns/%31/",
        "/%63ampaigns/1/b%61nners/101/click",
        "/banners/1%301",
        "/api/v1/stories/token%5F1",
        "/api/v1/stories/cached/token%5f1",
        "/api/v1/stories/%74oken_1/counts?date=2026-01-01",
        "/api/v1/dau/token%5F1?date=2026-01-01",
        "/api/v1%2E0/increasingconcurrents?apikey=token_played&host=played.example",
        "/static/marquee%2Ecss",
        "/static/beacon%2Ejs",
        "/health%7A",
        "/api/v1/campaigns/%31/candidates",
        "/api/v1/open%61pi.json",
    ],
)
def test_percent_encoded_unreserved_characters_are_the_same_address(server, path):
    plain = path
    for encoded, meant in (
        ("%31", "1"), ("%63", "c"), ("%61", "a"), ("%30", "0"), ("%5F", "_"), ("%5f", "_"),
        ("%74", "t"), ("%2E", "."), ("%7A", "z"),
    ):  # fmt: skip
        plain = plain.replace(encoded, meant)
    assert plain != path
    status = get(server, plain)[0]
    assert get(server, path)[0] == status
    assert status in (200, 302)


def test_an_encoded_slash_is_no_slash(server):
    for path in ("/campaigns%2F1/", "/api/v1/stories%2Ftoken_1", "/static%2Fmarquee.css"):
        assert get(server, path)[0] == 404


def test_an_absolute_target_is_answered_like_its_path(server):
    for path in ("/healthz", "/campaigns/1/", "/api/v1/docs/", "/static/marquee.css"):
        assert get(server, f"http://marquee.example{path}")[0] == 200


def test_an_owner_s_session_may_come_in_the_second_cookie_field(server):
    owner = json.loads("".join(server.told))["owner"]
    visitor = Visitor(server).log_in(owner["name"], owner["password"])
    for lines in (
        (f"Cookie: {visitor.cookie}",),
        ("Cookie: a=1", f"Cookie: {visitor.cookie}"),
        (f"Cookie: {visitor.cookie}", "Cookie: a=1; b=2"),
        ("cookie: a=1", "Accept: */*", f"cookie: b=2; {visitor.cookie}; c=3"),
    ):
        assert get(server, "/admin/account", *lines)[0] == 200, lines
