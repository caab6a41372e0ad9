"""Host headers: no response contains the host that a request names."""

import contextlib
import socket

import pytest

from tests.support.web.attack_target import AttackTarget

EVIL_HOST = "evil.example"
HEADERS = [
    [f"Host: {EVIL_HOST}"],
    [f"Host: {EVIL_HOST}:8000"],
    ["Host: x", f"X-Forwarded-Host: {EVIL_HOST}"],
    ["Host: x", f"X-Host: {EVIL_HOST}"],
    ["Host: x", f"X-Forwarded-Server: {EVIL_HOST}"],
    ["Host: x", f"X-HTTP-Host-Override: {EVIL_HOST}"],
    ["Host: x", f"Forwarded: host={EVIL_HOST};proto=https"],
    ["Host: x", f"X-Original-Host: {EVIL_HOST}"],
    ["Host: x", f"X-Forwarded-Prefix: //{EVIL_HOST}"],
    ["Host: x", f"X-Original-URL: //{EVIL_HOST}/"],
    ["Host: x", f"Origin: https://{EVIL_HOST}", f"Referer: https://{EVIL_HOST}/"],
    [f"Host: x.{EVIL_HOST}"],
]
# Two hosts, none, or an invalid one: the server rejects the request.
INVALID_HEADERS = [
    [f"Host: x\r\nHost: {EVIL_HOST}"],
    [f"Host: x@{EVIL_HOST}"],
    [f"Host: {EVIL_HOST}/x"],
    [f"Host: x\t{EVIL_HOST}"],
    ["Host: x", f" Host: {EVIL_HOST}"],
    [],
]
PATHS = ["/", "/admin", "/admin/", "/admin/users", "/admin/login", "/campaigns/1",
         "/campaigns/1/banners/1/click", "/campaigns/1/", "/api/v1/docs", "/api/v1/openapi.json",
         "/static/beacon.js", "/live/played.example?apikey=token_played", "/nowhere",
         "/api/v1/stories/token_1"]  # fmt: skip


# Pages with examples for the URL at which they were requested. They are not cached, and other sites
# cannot make a browser send another host.
PAGES_WITH_OWN_URL = ("/api/v1/docs",)


def send_raw(
    target: AttackTarget, path: str, fields: list[str], form: str = "GET {} HTTP/1.1"
) -> bytes:
    """Send a request with these headers; return the response."""
    request = "\r\n".join([form.format(path), *fields, "Connection: close", "", ""])
    with contextlib.closing(
        socket.create_connection(("127.0.0.1", target.server.port), 10)
    ) as connection:
        connection.sendall(request.encode())
        response = b""
        while piece := connection.recv(65_536):
            response += piece
    return response


@pytest.mark.parametrize("fields", HEADERS, ids=lambda it: it[-1].partition(":")[0])
def test_response_does_not_contain_requested_host(target, fields):
    for path in PATHS:
        for cookies in ([], [f"Cookie: {target.owner.cookie}"]):
            response = send_raw(target, path, [*fields, *cookies])
            assert response.startswith(b"HTTP/1.1 ")
            head, _, body = response.partition(b"\r\n\r\n")
            assert EVIL_HOST.encode() not in head, path
            if path in PAGES_WITH_OWN_URL and fields[0] != "Host: x":
                assert b"no-store" in head and b'="http' not in body
            else:
                assert EVIL_HOST.encode() not in body, path


@pytest.mark.parametrize("path", [path for path in PATHS if path not in PAGES_WITH_OWN_URL])
def test_response_does_not_contain_host_of_absolute_url(target, path):
    response = send_raw(
        target, path, [f"Host: {EVIL_HOST}"], f"GET http://{EVIL_HOST}{{}} HTTP/1.1"
    )
    assert EVIL_HOST.encode() not in response


@pytest.mark.parametrize("fields", INVALID_HEADERS, ids=range(len(INVALID_HEADERS)))
def test_invalid_host_is_rejected(target, fields):
    for path in PATHS:
        assert send_raw(target, path, fields).split()[1] == b"400", path


def test_setup_link_is_in_no_response(target):
    for fields in HEADERS:
        assert b"setup?token" not in send_raw(target, "/admin/login", fields)


def test_unprotected_redirect_contains_requested_host(unprotected):
    assert f"Location: http://{EVIL_HOST}/admin/login".encode() in send_raw(
        unprotected, "/admin/", [f"Host: {EVIL_HOST}"]
    )
