"""Header injection: no request value ends a line of the response head.

tests/httpserver/protocol/ tests malformed heads (test_request_framing.py) and request smuggling
(test_request_fuzz.py).
"""

import contextlib
import socket
from urllib.parse import quote, urlencode

import pytest

from tests.support.web.admin_session import owner_credentials
from tests.support.web.attack_target import AttackTarget
from tests.support.web.route_table import OWNER, ROUTE_CASES

PAYLOADS = [
    "x\r\nX-Evil: 1",
    "x\nX-Evil: 1",
    "x\rX-Evil: 1",
    "x\r\n\r\nHTTP/1.1 200 OK\r\nX-Evil: 1\r\n\r\n",
    "x\0\r\nX-Evil: 1",
    "\r\nX-Evil: 1",
    "x\u560d\u560aX-Evil: 1",
    "x\u010d\u010aX-Evil: 1",
    "x\x85X-Evil: 1",
    "x\u2028X-Evil: 1",
    "x%0d%0aX-Evil: 1",
    "x%250d%250aX-Evil: 1",
    "/admin/x\r\nX-Evil: 1",
]
# Field names of all forms.
FIELDS = ("name", "next", "token", "hosts", "public_token", "id", "metadata", "app", "category",
          "schema", "action", "scopes", "session", "who", "url")  # fmt: skip
GET_ROUTES = [row for row in ROUTE_CASES if row.method == "GET" and "stream" not in row.path
             and row.path != "/admin/live"]  # fmt: skip
# Logout is left out, since the other tests need the session.
OWNER_FORMS = [row for row in ROUTE_CASES if row.method == "POST" and row.callers == OWNER]


def response_lines(target: AttackTarget, request: bytes) -> list[bytes]:
    """Send a request and return the lines of the response head."""
    with contextlib.closing(
        socket.create_connection(("127.0.0.1", target.server.port), 10)
    ) as connection:
        connection.sendall(request)
        response = b""
        while piece := connection.recv(65_536):
            response += piece
    head = response.partition(b"\r\n\r\n")[0]
    return head.replace(b"\r", b"\n").split(b"\n")


def is_header_injected(target: AttackTarget, request: bytes) -> bool:
    lines = response_lines(target, request)
    return any(line.strip().lower().startswith(b"x-evil") for line in lines)


def get_request(target: AttackTarget, path: str, *fields: str) -> bytes:
    extra = "".join(f"{field}\r\n" for field in fields)
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nCookie: {target.owner.cookie}\r\n"
    return f"{head}{extra}Connection: close\r\n\r\n".encode("utf-8", "surrogatepass")


def post_request(target: AttackTarget, path: str, cookie: str, **fields: str) -> bytes:
    body = urlencode(fields).encode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\nSec-Fetch-Site: same-origin\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode() + body


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_url_injects_no_header(target, payload):
    quoted = quote(payload, safe="%")
    for row in GET_ROUTES:
        path = row.path.partition("?")[0]
        query = "&".join(
            f"{name}={quoted}" for name in (*FIELDS, "apikey", "host", "cursor", "from")
        )
        for url in (f"{path}?{query}", f"{path}{quoted}"):
            assert not is_header_injected(target, get_request(target, url)), url


@pytest.mark.parametrize("payload", PAYLOADS, ids=range(len(PAYLOADS)))
def test_form_field_injects_no_header(target, payload):
    name, password = owner_credentials(target.server)
    cookie = target.owner.cookie
    for row in OWNER_FORMS:
        if row.path == "/admin/users" and payload != PAYLOADS[0]:
            continue  # hashing a password takes long, and the response is always a page
        assert not is_header_injected(
            target, post_request(target, row.path, cookie, **dict.fromkeys(FIELDS, payload))
        )
    login = post_request(target, "/admin/login", "", name=name, password=password, next=payload)
    assert not is_header_injected(target, login)


@pytest.mark.parametrize("payload", [each for each in PAYLOADS if not set(each) & set("\r\n\0")])
@pytest.mark.parametrize(
    "name",
    ["Origin", "Cookie", "Host", "Referer", "User-Agent", "X-Request-ID", "X-Forwarded-For",
     "Accept", "Accept-Language", "If-None-Match", "Range", "Access-Control-Request-Headers"],
)  # fmt: skip
def test_request_header_injects_no_header(target, name, payload):
    for path in (
        f"/api/v1/stories/{target.public_token}",
        "/campaigns/1/",
        "/banners/1",
        "/admin/",
    ):
        request = get_request(target, path, f"{name}: {payload}", f"{name}: mq_last_1={payload}")
        assert not is_header_injected(target, request)


def test_unprotected_login_injects_header(unprotected):
    name, password = owner_credentials(unprotected.server)
    payload = "/admin/x\r\nX-Evil: 1"
    login = post_request(
        unprotected, "/admin/login", "", name=name, password=password, next=payload
    )
    assert is_header_injected(unprotected, login)
