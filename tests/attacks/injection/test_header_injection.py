"""Header injection: nothing that a request says ends a line of an response's head.

The HTTP server's own tests cover malformed heads (test_request_framing.py) and
request smuggling (test_request_fuzz.py), in tests/httpserver/protocol/.
"""

import contextlib
import socket
from urllib.parse import quote, urlencode

import pytest

from tests.support.web.admin_session import owner_credentials
from tests.support.web.attack_target import AttackTarget
from tests.support.web.route_table import OWNER, ROUTE_CASES

EVIL = [
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
# What forms have, whatever the form.
FIELDS = ("name", "next", "token", "hosts", "public_token", "id", "metadata", "app", "category",
          "schema", "action", "scopes", "session", "who", "url")  # fmt: skip
LOOKED_AT = [row for row in ROUTE_CASES if row.method == "GET" and "stream" not in row.path
             and row.path != "/admin/live"]  # fmt: skip
# Not the end of the session that the others need.
SENT = [row for row in ROUTE_CASES if row.method == "POST" and row.callers == OWNER]


def heads(target: AttackTarget, request: bytes) -> list[bytes]:
    """The lines of all heads in what comes back on one connection."""
    with contextlib.closing(
        socket.create_connection(("127.0.0.1", target.server.port), 10)
    ) as there:
        there.sendall(request)
        response = b""
        while piece := there.recv(65_536):
            response += piece
    head = response.partition(b"\r\n\r\n")[0]
    return head.replace(b"\r", b"\n").split(b"\n")


def injected(target: AttackTarget, request: bytes) -> bool:
    lines = heads(target, request)
    return any(line.strip().lower().startswith(b"x-evil") for line in lines)


def get(target: AttackTarget, path: str, *fields: str) -> bytes:
    more = "".join(f"{field}\r\n" for field in fields)
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nCookie: {target.owner.cookie}\r\n"
    return f"{head}{more}Connection: close\r\n\r\n".encode("utf-8", "surrogatepass")


def post(target: AttackTarget, path: str, cookie: str, **fields: str) -> bytes:
    body = urlencode(fields).encode()
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\nSec-Fetch-Site: same-origin\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
        "Connection: close\r\n\r\n"
    ).encode() + body


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
def test_nothing_in_an_address_does(target, evil):
    said = quote(evil, safe="%")
    for row in LOOKED_AT:
        path = row.path.partition("?")[0]
        every = "&".join(f"{name}={said}" for name in (*FIELDS, "apikey", "host", "cursor", "from"))
        for place in (f"{path}?{every}", f"{path}{said}"):
            assert not injected(target, get(target, place)), place


@pytest.mark.parametrize("evil", EVIL, ids=range(len(EVIL)))
def test_nothing_in_a_form_does(target, evil):
    name, password = owner_credentials(target.server)
    cookie = target.owner.cookie
    for row in SENT:
        if row.path == "/admin/users" and evil != EVIL[0]:
            continue  # takes a while for each, and responses with a page
        assert not injected(target, post(target, row.path, cookie, **dict.fromkeys(FIELDS, evil)))
    login = post(target, "/admin/login", "", name=name, password=password, next=evil)
    assert not injected(target, login)


@pytest.mark.parametrize("evil", [each for each in EVIL if not set(each) & set("\r\n\0")])
@pytest.mark.parametrize(
    "name",
    ["Origin", "Cookie", "Host", "Referer", "User-Agent", "X-Request-ID", "X-Forwarded-For",
     "Accept", "Accept-Language", "If-None-Match", "Range", "Access-Control-Request-Headers"],
)  # fmt: skip
def test_nothing_in_a_field_does(target, name, evil):
    for path in (
        f"/api/v1/stories/{target.public_token}",
        "/campaigns/1/",
        "/banners/1",
        "/admin/",
    ):
        request = get(target, path, f"{name}: {evil}", f"{name}: mq_last_1={evil}")
        assert not injected(target, request)


def test_without_the_guards_a_login_sends_what_it_is_told(weakened):
    name, password = owner_credentials(weakened.server)
    evil = "/admin/x\r\nX-Evil: 1"
    assert injected(weakened, post(weakened, "/admin/login", "", name=name, password=password,
                                   next=evil))  # fmt: skip
