"""Host headers: whatever name a request gives this server, no response leads or points there."""

import contextlib
import socket

import pytest

from tests.support.web.attack_target import AttackTarget

EVIL = "evil.example"
FIELDS = [
    [f"Host: {EVIL}"],
    [f"Host: {EVIL}:8000"],
    ["Host: x", f"X-Forwarded-Host: {EVIL}"],
    ["Host: x", f"X-Host: {EVIL}"],
    ["Host: x", f"X-Forwarded-Server: {EVIL}"],
    ["Host: x", f"X-HTTP-Host-Override: {EVIL}"],
    ["Host: x", f"Forwarded: host={EVIL};proto=https"],
    ["Host: x", f"X-Original-Host: {EVIL}"],
    ["Host: x", f"X-Forwarded-Prefix: //{EVIL}"],
    ["Host: x", f"X-Original-URL: //{EVIL}/"],
    ["Host: x", f"Origin: https://{EVIL}", f"Referer: https://{EVIL}/"],
    [f"Host: x.{EVIL}"],
]
# Two names, none, or a name that is none: refused as a whole.
REFUSED = [
    [f"Host: x\r\nHost: {EVIL}"],
    [f"Host: x@{EVIL}"],
    [f"Host: {EVIL}/x"],
    [f"Host: x\t{EVIL}"],
    ["Host: x", f" Host: {EVIL}"],
    [],
]
PATHS = ["/", "/admin", "/admin/", "/admin/users", "/admin/login", "/campaigns/1",
         "/campaigns/1/banners/1/click", "/campaigns/1/", "/api/v1/docs", "/api/v1/openapi.json",
         "/static/beacon.js", "/live/played.example?apikey=token_played", "/nowhere",
         "/api/v1/stories/token_1"]  # fmt: skip


# Pages that show how to call the very address at which they were asked for; kept by no cache, and
# a browser cannot be made to ask for them under another name.
SHOWS_ITS_OWN = ("/api/v1/docs",)


def ask(target: AttackTarget, path: str, fields: list[str], form: str = "GET {} HTTP/1.1") -> bytes:
    """The whole response."""
    request = "\r\n".join([form.format(path), *fields, "Connection: close", "", ""])
    with contextlib.closing(
        socket.create_connection(("127.0.0.1", target.server.port), 10)
    ) as there:
        there.sendall(request.encode())
        response = b""
        while piece := there.recv(65_536):
            response += piece
    return response


@pytest.mark.parametrize("fields", FIELDS, ids=lambda it: it[-1].partition(":")[0])
def test_no_answer_names_the_host_that_was_said(target, fields):
    for path in PATHS:
        for more in ([], [f"Cookie: {target.owner.cookie}"]):
            response = ask(target, path, [*fields, *more])
            assert response.startswith(b"HTTP/1.1 ")
            head, _, body = response.partition(b"\r\n\r\n")
            assert EVIL.encode() not in head, path
            if path in SHOWS_ITS_OWN and fields[0] != "Host: x":
                assert b"no-store" in head and b'="http' not in body
            else:
                assert EVIL.encode() not in body, path


@pytest.mark.parametrize("path", [path for path in PATHS if path not in SHOWS_ITS_OWN])
def test_nor_that_of_an_absolute_address(target, path):
    response = ask(target, path, [f"Host: {EVIL}"], f"GET http://{EVIL}{{}} HTTP/1.1")
    assert EVIL.encode() not in response


@pytest.mark.parametrize("fields", REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_name_is_refused(target, fields):
    for path in PATHS:
        assert ask(target, path, fields).split()[1] == b"400", path


def test_a_link_for_the_first_user_is_told_at_the_terminal_alone(target):
    """There is no mail, and no other link that is made from what a request says."""
    for fields in FIELDS:
        assert b"setup?token" not in ask(target, "/admin/login", fields)


def test_without_the_guard_a_redirect_names_it(weakened):
    assert f"Location: http://{EVIL}/admin/login".encode() in ask(
        weakened, "/admin/", [f"Host: {EVIL}"]
    )
