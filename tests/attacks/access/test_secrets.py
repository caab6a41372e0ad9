"""Secrets: no token, cookie, password or link stands in a log, an error, a file or a process list.

A server at its most talkative is asked at every address it has, with every kind of secret in every
place where one may be put, rightly and wrongly. Then all that it wrote is searched.
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

KEY = "upstream-key-0f9a8b7c6d5e"
# Where a secret is put by who knows no better.
PLACES = ("token", "access_token", "password", "next", "cursor", "session_id")


class Answered(NamedTuple):
    """An response, with what it is an response to, and what of that it may say again.

    A page's links and forms go on with what stood in its address; nothing of a head or a body comes
    back, nor anything at all where programs ask.
    """

    to: str
    again: str
    body: bytes


class Talkative:
    """A server that logs all it can, what it was asked, and what it answered."""

    def __init__(self, kind: type, data: Path, form: str) -> None:
        self.upstream = Refusing()
        self.server = kind(
            data, "--log-level", "debug", "--access-log", "--log-format", form,
            "--upstream", f"http://127.0.0.1:{self.upstream.port}",
        )  # fmt: skip
        self.responses: list[Answered] = []
        self.seen: list[bytes] = []
        self.secrets: dict[str, str] = {}
        self._ended = threading.Event()
        self._watching = threading.Thread(target=self._watch, daemon=True)
        self._watching.start()
        self.visitor = AdminBrowser(self)

    def request(
        self, path: str, method: str = "GET", body: bytes | None = None, **headers: str
    ) -> Any:
        """One request, whose response is kept."""
        with contextlib.closing(self.server.connect()) as connection:
            connection.timeout = 5
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            response = connection.getresponse()
            if "event-stream" in (response.headers["Content-Type"] or ""):
                response.read = lambda *_: b""  # type: ignore[method-assign]
            found = ServerResponse(response)
            head = bytes(response.headers)
            page = (response.headers["Content-Type"] or "").startswith("text/html")
            mine = f"{method} {path}" if page else ""
            self.responses.append(Answered(f"{method} {path}", mine, head + found.body))
            return found

    def told(self, response: Any) -> Any:
        """The same, whose response is one that tells a secret, once, to who is to have it."""
        self.responses.pop()
        return response

    def raw(self, sent: bytes) -> None:
        """Bytes that are no right request."""
        place = ("127.0.0.1", self.server.port)
        with contextlib.closing(socket.create_connection(place, 5)) as there:
            with contextlib.suppress(OSError):
                there.sendall(sent)
                there.shutdown(socket.SHUT_WR)
            response = b""
            with contextlib.suppress(OSError):
                while piece := there.recv(65_536):
                    response += piece
        self.responses.append(Answered(repr(sent[:80]), "", response))

    def _watch(self) -> None:
        """All that a list of processes shows of the server and what it starts."""
        while not self._ended.wait(0.1):
            for entry in os.listdir("/proc"):
                with contextlib.suppress(OSError, ValueError):
                    line = Path(f"/proc/{int(entry)}/cmdline").read_bytes()
                    if str(self.server.data).encode() in line:
                        self.seen += [line, Path(f"/proc/{entry}/environ").read_bytes()]

    def end(self) -> None:
        """Stop it."""
        self._ended.set()
        self._watching.join(120)
        self.server.stop()
        self.upstream.close()

    def found(self) -> list[str]:
        """Where a secret stands, as name and place."""
        there = {"log": self.server.log.encode()}
        there["processes"] = b"\n".join(self.seen)
        for path in self.server.data.rglob("*"):
            if path.is_file():
                there[path.name] = path.read_bytes()
        return [
            f"{name} in the response to {to[:80]}"
            for name, secret in self.secrets.items()
            for to, again, body in self.responses
            if secret.encode() in body and secret not in again
        ] + [
            f"{name} in {where}"
            for name, secret in self.secrets.items()
            for where, content in there.items()
            # The keys of polled hosts are stored: docs/how-to/audience.md says so.
            if not (name == "the upstream's key" and where.startswith("marquee.db"))
            for form in forms(secret)
            if form.encode() in content
        ]


def forms(secret: str) -> set[str]:
    """What a secret is written as; of a token (`mq_<id>_<secret>`) the last part is enough."""
    last = secret.split("_", 2)[2] if secret.startswith("mq_") else secret
    return {last, quote(last, safe="")}


class Refusing:
    """An upstream that says what it was asked in its error, which every second response is."""

    _asked = 0

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                there, _ = self._socket.accept()
                with there:
                    head = there.recv(65_536)
                    right = self._asked % 2 == 0
                    self._asked += 1
                    body = b'[{"path": "/", "visitors": 3}]' if right else b"no: " + head
                    status = b"HTTP/1.1 200 OK\r\n"
                    if not right:
                        status = b"HTTP/1.1 500 %b\r\n" % head.split(b"\r\n")[0]
                    there.sendall(status + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def command(data: Path, *words: str, stdin: str = "") -> dict[str, Any]:
    """What a command tells as JSON."""
    done = subprocess.run(
        [sys.executable, "server.py", *words, "--data", str(data), "--json"],
        cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def use(it: Talkative, *, once: bool = False) -> None:
    """Everything that makes, uses, changes and ends a secret; `once` will do where it is found."""
    data = it.server.data
    password, another, typo = (secrets.token_urlsafe(18) for _ in range(3))
    link = wait_for(
        lambda: re.search(r"/admin/setup\?token=(\S+)", "".join(it.server.stdout_lines))
    )
    it.secrets |= {"the link": link[1], "a password": password, "the next password": another,
                   "a wrong password": typo, "the upstream's key": KEY}  # fmt: skip
    me = it.visitor
    it.told(me.get(link[0]))
    it.told(me.post("/admin/setup", token=link[1], name="maria", password=typo, again=password))
    it.told(me.post("/admin/setup", token=link[1], name="maria", password=password,
                    again=password))  # fmt: skip
    it.secrets["a session"] = me.cookie.partition("=")[2]
    me.post("/admin/account", old=typo, new=another, again=another)
    me.post("/admin/account", old=password, new=another, again=another)
    me.post("/admin/login", name="maria", password=typo)
    me.post("/admin/login", name=typo, password=another)
    it.told(me.post("/admin/login", name="maria", password=another, next="/admin/apps"))
    it.secrets["the next session"] = me.cookie.partition("=")[2]
    made = it.told(me.post("/admin/apps", name="Shop", hosts="www.example.com"))
    token = it.secrets["a token"] = re.search(r'id="token">([^<]+)<', made.text)[1]
    number = re.search(r"/admin/apps/(\d+)", made.text)[1]
    made = it.told(me.post(f"/admin/apps/{number}/tokens", scopes="admin"))
    admin = it.secrets["an admin token"] = re.search(r'id="token">([^<]+)<', made.text)[1]
    if once:
        it.request(f"/admin/apps?{urlencode({'token': token})}", Cookie=me.cookie)
        it.request("/events", Authorization=f"Bearer {token}")
        return
    it.secrets["a token of the terminal"] = command(data, "app", "create", "Other")["secret_token"]
    made = it.told(me.post("/admin/users", name="otto"))
    it.secrets["a given password"] = re.search(r'class="secret">([^<]+)<', made.text)[1]
    it.secrets["a password of the terminal"] = given = secrets.token_urlsafe(18)
    command(data, "user", "create", "nina", stdin=f"{given}\n")
    it.secrets["a generated password"] = command(data, "user", "password", "otto", "--generate")[
        "password"
    ]
    revoked = it.secrets["a token of the terminal"]
    it.request("/events", Authorization=f"Bearer {revoked}")
    command(data, "app", "revoke", revoked.split("_")[1])
    time.sleep(1.1)

    kinds = {"Content_Type": "application/json"}
    right = json.dumps([attack_event(), attack_event(timestamp="never"), {"x": 1}]).encode()
    for each in (token, admin, revoked, token[:-1] + "x", f"mq_99_{token[5:]}"):
        it.request("/events", "POST", right, Authorization=f"Bearer {each}", **kinds)
        it.request("/events", "POST", b"\xff{", Authorization=f"bearer  {each}", **kinds)
        it.request("/events", Authorization=f"Basic {each}")
        it.request("/events", Authorization=each)
    said = list(it.secrets.values())
    for row in ROUTE_CASES:
        if "logout" in row.path or row.path == "/admin/live":
            continue
        path = row.path.partition("?")[0]
        for credentials in (
            {"Authorization": f"Bearer {admin}"},
            {"Cookie": me.cookie, "Sec_Fetch_Site": "same-origin"},
        ):
            secret = said[len(it.responses) % len(said)]
            query = urlencode(dict.fromkeys(PLACES, secret))
            body = b"" if row.method in ("POST", "PUT") else None
            it.request(f"{path}?{query}", row.method, body, **credentials)
    for secret in said:
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
            if b"/nowhere" not in line or secret.startswith("mq_"):  # else it is a path, in a log
                it.raw(line)
    for path in ("/live/toppages/", "/api/v1.0/increasingconcurrents"):
        it.request(f"{path}?{urlencode({'apikey': KEY, 'host': 'www.example.com'})}")
    it.request(f"/live/www.example.com?{urlencode({'apikey': KEY})}")
    time.sleep(0.5)  # a reading or two
    folder = zip_files([("1/clicks_1.csv", b"click_id,banner_id,campaign_id\n1,1,1\n")])
    edge = b'--edge\r\nContent-Disposition: form-data; name="f"; filename="a.zip"\r\n\r\n'
    response = it.request(
        "/admin/campaigns/upload", "POST", edge + folder + b"\r\n--edge--\r\n",
        Content_Type="multipart/form-data; boundary=edge", Cookie=me.cookie,
        Sec_Fetch_Site="same-origin",
    )  # fmt: skip
    wait_for(lambda: "data-reload-ms" not in me.get(response.headers["Location"]).text)
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
        me.get(f"/admin/{page}")
    command(data, "backup", "--to", str(data / "backups"))
    me.post("/admin/logout")
    it.raw(b"\x16\x03\x01" + token.encode())


@pytest.fixture(scope="module")
def used(tmp_path_factory) -> Iterator[Talkative]:
    it = Talkative(MarqueeProcess, tmp_path_factory.mktemp("talkative") / "data", "text")
    try:
        use(it)
    finally:
        it.end()
    yield it


def test_no_secret_stands_in_a_log_an_answer_a_file_or_a_process_list(used):
    assert len(used.secrets) == 13 == len(set(used.secrets.values()))
    assert len(used.responses) > 250 and len(used.server.stderr_lines) > 200 and len(used.seen) > 20
    assert "\n".join(used.found()) == ""


def test_the_log_tells_of_each_request_all_the_same(used):
    for words in ("/events", "/admin/login", "/admin/users", "/campaigns/1/", "DEBUG"):
        assert words.lower() in used.server.log.lower()
    assert "Traceback" not in used.server.log


def test_what_is_kept_of_them_is_there(used):
    """The search finds what is stored: a name, and the key of a polled host."""
    held = b"".join(path.read_bytes() for path in used.server.data.glob("marquee.db*"))
    assert b"maria" in held and KEY.encode() in held and b"$argon2id$" in held


def test_without_the_guards_they_are_found(tmp_path):
    it = Talkative(UnprotectedProcess, tmp_path / "data", "json")
    try:
        use(it, once=True)
    finally:
        it.end()
    found = it.found()
    assert {"a token in log", "a session in log", "the next session in log"} <= set(found)
    assert any(each.startswith("a session in marquee.db") for each in found)
