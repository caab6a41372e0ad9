"""No token, cookie, password or link is in a log, an error, a file or a process list.

The tests send every kind of secret to every route of a server with debug logs, in right and wrong
places, and search everything that the server wrote.
"""

import contextlib
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import pytest

from tests.support import ROOT
from tests.support.audience.audience_site import wait_for
from tests.support.server_process import MarqueeProcess, ServerResponse
from tests.support.web.admin_session import AdminBrowser
from tests.support.web.attack_target import UnprotectedProcess, attack_event, zip_files
from tests.support.web.route_table import ROUTE_CASES

UPSTREAM_KEY = "upstream-key-0f9a8b7c6d5e"
# Query parameters in which clients put secrets by mistake.
QUERY_PARAMETERS = ("token", "access_token", "password", "next", "cursor", "session_id")


class RecordedResponse(NamedTuple):
    """A response, its request, and the part of the request that it may repeat.

    Pages may repeat their URL in links and forms. No response repeats headers or a body, and API
    responses repeat nothing.
    """

    request: str
    repeatable: str
    body: bytes


class RecordingServer:
    """A server with debug logs, whose responses and process list entries are recorded."""

    def __init__(self, kind: type[MarqueeProcess], data: Path, log_format: str) -> None:
        self.upstream = EchoingUpstream()
        self.process = kind(
            data, "--log-level", "debug", "--access-log", "--log-format", log_format,
            "--upstream", f"http://127.0.0.1:{self.upstream.port}",
        )  # fmt: skip
        self.responses: list[RecordedResponse] = []
        self.process_entries: list[bytes] = []
        self.secrets: dict[str, str] = {}
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        self.browser = AdminBrowser(self)

    def request(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> Any:
        """Send a request and record the response."""
        with contextlib.closing(self.process.connect()) as connection:
            connection.timeout = 5
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, fields)
            response = connection.getresponse()
            if "event-stream" in (response.headers["Content-Type"] or ""):
                response.read = lambda *_: b""  # type: ignore[method-assign]
            result = ServerResponse(response)
            head = bytes(response.headers)
            is_page = (response.headers["Content-Type"] or "").startswith("text/html")
            repeatable = f"{method} {path}" if is_page else ""
            self.responses.append(
                RecordedResponse(f"{method} {path}", repeatable, head + result.body)
            )
            return result

    def unrecorded(self, response: Any) -> Any:
        """Return a response that rightly contains a secret, and remove it from the record."""
        self.responses.pop()
        return response

    def send_raw(self, request: bytes) -> None:
        """Send bytes that are not a valid request."""
        address = ("127.0.0.1", self.process.port)
        with contextlib.closing(socket.create_connection(address, 5)) as connection:
            with contextlib.suppress(OSError):
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
            response = b""
            with contextlib.suppress(OSError):
                while piece := connection.recv(65_536):
                    response += piece
        self.responses.append(RecordedResponse(repr(request[:80]), "", response))

    def _watch(self) -> None:
        """Record command lines and environments of the server and its child processes."""
        while not self._stopped.wait(0.1):
            for entry in os.listdir("/proc"):
                with contextlib.suppress(OSError, ValueError):
                    line = Path(f"/proc/{int(entry)}/cmdline").read_bytes()
                    if str(self.process.data).encode() in line:
                        self.process_entries += [line, Path(f"/proc/{entry}/environ").read_bytes()]

    def stop(self) -> None:
        self._stopped.set()
        self._watcher.join(120)
        self.process.stop()
        self.upstream.close()

    def find_secrets(self) -> list[str]:
        """Return the name and place of every secret that was found."""
        contents = {"log": self.process.log.encode()}
        contents["processes"] = b"\n".join(self.process_entries)
        for path in self.process.data.rglob("*"):
            if path.is_file():
                contents[path.name] = path.read_bytes()
        return [
            f"{name} in the response to {request[:80]}"
            for name, secret in self.secrets.items()
            for request, repeatable, body in self.responses
            if secret.encode() in body and secret not in repeatable
        ] + [
            f"{name} in {where}"
            for name, secret in self.secrets.items()
            for where, content in contents.items()
            # The keys of polled hosts are stored: docs/how-to/audience.md says so.
            if not (name == "the upstream's key" and where.startswith("marquee.db"))
            for encoding in encodings(secret)
            if encoding.encode() in content
        ]


def encodings(secret: str) -> set[str]:
    """Return the secret as text and in a URL; of a token (`mq_<id>_<secret>`) the last part."""
    last = secret.split("_", 2)[2] if secret.startswith("mq_") else secret
    return {last, quote(last, safe="")}


class EchoingUpstream:
    """An upstream server whose every second response is an error that repeats the request."""

    _requests = 0

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    head = connection.recv(65_536)
                    is_ok = self._requests % 2 == 0
                    self._requests += 1
                    body = b'[{"path": "/", "visitors": 3}]' if is_ok else b"no: " + head
                    status = b"HTTP/1.1 200 OK\r\n"
                    if not is_ok:
                        status = b"HTTP/1.1 500 %b\r\n" % head.split(b"\r\n")[0]
                    connection.sendall(status + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def run_json_command(data: Path, *arguments: str, stdin: str = "") -> dict[str, Any]:
    """Run a command and return its JSON output."""
    done = subprocess.run(
        [sys.executable, "server.py", *arguments, "--data", str(data), "--json"],
        cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    output: dict[str, Any] = json.loads(done.stdout)
    return output


def use_all_secrets(server: RecordingServer, *, is_short: bool = False) -> None:
    """Create, use, change and revoke every kind of secret; `is_short` skips the later ones."""
    data = server.process.data
    password, another, typo = (secrets.token_urlsafe(18) for _ in range(3))
    link = wait_for(
        lambda: re.search(r"/admin/setup\?token=(\S+)", "".join(server.process.stdout_lines))
    )
    server.secrets |= {"the link": link[1], "a password": password, "the next password": another,
                   "a wrong password": typo, "the upstream's key": UPSTREAM_KEY}  # fmt: skip
    browser = server.browser
    server.unrecorded(browser.get(link[0]))
    server.unrecorded(
        browser.post("/admin/setup", token=link[1], name="maria", password=typo, again=password)
    )
    server.unrecorded(browser.post("/admin/setup", token=link[1], name="maria", password=password,
                    again=password))  # fmt: skip
    server.secrets["a session"] = browser.cookie.partition("=")[2]
    browser.post("/admin/account", old=typo, new=another, again=another)
    browser.post("/admin/account", old=password, new=another, again=another)
    browser.post("/admin/login", name="maria", password=typo)
    browser.post("/admin/login", name=typo, password=another)
    server.unrecorded(
        browser.post("/admin/login", name="maria", password=another, next="/admin/apps")
    )
    server.secrets["the next session"] = browser.cookie.partition("=")[2]
    page = server.unrecorded(browser.post("/admin/apps", name="Shop", hosts="www.example.com"))
    token = server.secrets["a token"] = re.search(r'id="token">([^<]+)<', page.text)[1]
    number = re.search(r"/admin/apps/(\d+)", page.text)[1]
    page = server.unrecorded(browser.post(f"/admin/apps/{number}/tokens", scopes="admin"))
    admin = server.secrets["an admin token"] = re.search(r'id="token">([^<]+)<', page.text)[1]
    if is_short:
        server.request(f"/admin/apps?{urlencode({'token': token})}", Cookie=browser.cookie)
        server.request("/events", Authorization=f"Bearer {token}")
        return
    server.secrets["a token of the terminal"] = run_json_command(data, "app", "create", "Other")[
        "secret_token"
    ]
    page = server.unrecorded(browser.post("/admin/users", name="otto"))
    server.secrets["a given password"] = re.search(r'class="secret">([^<]+)<', page.text)[1]
    server.secrets["a password of the terminal"] = given = secrets.token_urlsafe(18)
    run_json_command(data, "user", "create", "nina", stdin=f"{given}\n")
    server.secrets["a generated password"] = run_json_command(
        data, "user", "password", "otto", "--generate"
    )["password"]
    revoked = server.secrets["a token of the terminal"]
    server.request("/events", Authorization=f"Bearer {revoked}")
    run_json_command(data, "app", "revoke", revoked.split("_")[1])
    time.sleep(1.1)

    kinds = {"Content_Type": "application/json"}
    body = json.dumps([attack_event(), attack_event(timestamp="never"), {"x": 1}]).encode()
    for each in (token, admin, revoked, token[:-1] + "x", f"mq_99_{token[5:]}"):
        server.request("/events", "POST", body, Authorization=f"Bearer {each}", **kinds)
        server.request("/events", "POST", b"\xff{", Authorization=f"bearer  {each}", **kinds)
        server.request("/events", Authorization=f"Basic {each}")
        server.request("/events", Authorization=each)
    all_secrets = list(server.secrets.values())
    for row in ROUTE_CASES:
        if "logout" in row.path or row.path == "/admin/live":
            continue
        path = row.path.partition("?")[0]
        for credentials in (
            {"Authorization": f"Bearer {admin}"},
            {"Cookie": browser.cookie, "Sec_Fetch_Site": "same-origin"},
        ):
            secret = all_secrets[len(server.responses) % len(all_secrets)]
            query = urlencode(dict.fromkeys(QUERY_PARAMETERS, secret))
            body = b"" if row.method in ("POST", "PUT") else None
            server.request(f"{path}?{query}", row.method, body, **credentials)
    for secret in all_secrets:
        quoted = quote(secret, safe="").encode()
        for line in (
            b"GET /nowhere/%b HTTP/1.1\r\nHost: x\r\n\r\n" % quoted,
            b"GET /api/v1/stories/%b HTTP/1.1\r\nHost: x\r\n\r\n" % quoted,
            b"GET /events?token=%b HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" % quoted,
            b"GET /events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer\t%b\x01\r\n\r\n" % quoted,
            b"GET /events HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer %b\r\n\r\n" % quoted,
            b"GET /events HTTP/1.1\r\nHost: x\r\nX: %b\r\n\r\n" % (quoted + b"x" * 20_000),
            b"G%b /events HTTP/1.1\r\nHost: x\r\n\r\n" % quoted,
            b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\n\r\n" % quoted,
        ):
            if b"/nowhere" not in line or secret.startswith("mq_"):  # a path may be logged
                server.send_raw(line)
    for path in ("/live/toppages/", "/api/v1.0/increasingconcurrents"):
        server.request(f"{path}?{urlencode({'apikey': UPSTREAM_KEY, 'host': 'www.example.com'})}")
    server.request(f"/live/www.example.com?{urlencode({'apikey': UPSTREAM_KEY})}")
    time.sleep(0.5)  # the server reads the upstream
    folder = zip_files([("1/clicks_1.csv", b"click_id,banner_id,campaign_id\n1,1,1\n")])
    edge = b'--edge\r\nContent-Disposition: form-data; name="f"; filename="a.zip"\r\n\r\n'
    response = server.request(
        "/admin/campaigns/upload", "POST", edge + folder + b"\r\n--edge--\r\n",
        Content_Type="multipart/form-data; boundary=edge", Cookie=browser.cookie,
        Sec_Fetch_Site="same-origin",
    )  # fmt: skip
    wait_for(lambda: "data-reload-ms" not in browser.get(response.headers["Location"]).text)
    for page in (
        "",
        "apps",
        f"apps/{number}",
        "users",
        "audit",
        "health",
        "rejected-events",
        "events",
    ):
        browser.get(f"/admin/{page}")
    run_json_command(data, "backup", "--to", str(data / "backups"))
    browser.post("/admin/logout")
    server.send_raw(b"\x16\x03\x01" + token.encode())


@pytest.fixture(scope="module")
def recording_server(tmp_path_factory) -> Iterator[RecordingServer]:
    server = RecordingServer(MarqueeProcess, tmp_path_factory.mktemp("recording") / "data", "text")
    try:
        use_all_secrets(server)
    finally:
        server.stop()
    yield server


def test_secrets_are_in_no_log_response_file_or_process_list(recording_server):
    assert len(recording_server.secrets) == 13 == len(set(recording_server.secrets.values()))
    assert (
        len(recording_server.responses) > 250
        and len(recording_server.process.stderr_lines) > 200
        and len(recording_server.process_entries) > 20
    )
    assert "\n".join(recording_server.find_secrets()) == ""


def test_log_contains_the_requests(recording_server):
    for text in ("/events", "/admin/login", "/admin/users", "/campaigns/1/", "DEBUG"):
        assert text.lower() in recording_server.process.log.lower()
    assert "Traceback" not in recording_server.process.log


def test_search_finds_stored_values(recording_server):
    """The search finds what is stored: a name, and the key of a polled host."""
    content = b"".join(
        path.read_bytes() for path in recording_server.process.data.glob("marquee.db*")
    )
    assert b"maria" in content and UPSTREAM_KEY.encode() in content and b"$argon2id$" in content


def test_unprotected_server_leaks_secrets(tmp_path):
    server = RecordingServer(UnprotectedProcess, tmp_path / "data", "json")
    try:
        use_all_secrets(server, is_short=True)
    finally:
        server.stop()
    found = server.find_secrets()
    assert {"a token in log", "a session in log", "the next session in log"} <= set(found)
    assert any(each.startswith("a session in marquee.db") for each in found)
