"""Tokens, passwords and cookies stand nowhere but where they are shown once."""

import json
import re
from pathlib import Path

import pytest
from conftest import Running
from test_events import App
from visitor import Visitor, owner_of

PASSWORD = "correct horse battery"


class Sought:
    """What must not be found, by name."""

    def __init__(self) -> None:
        self.secrets: dict[str, bytes] = {}

    def add(self, name: str, secret: str) -> None:
        assert len(secret) > 8
        self.secrets[name] = secret.encode()

    def found(self, where: bytes) -> list[str]:
        return [name for name, secret in self.secrets.items() if secret in where]


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """A server that talks of all that it does, after a life with all kinds of secrets."""
    server = Running(
        tmp_path_factory.mktemp("lived") / "data",
        *("--sample", "--no-traffic", "--log-level", "debug", "--access-log"),
    )
    sought, answers = Sought(), []

    def ask(*words, **more):
        answer = app.ask(*words, **more)
        answers.append((words[0], answer.body))
        return answer

    app = App(server)
    sought.add("a secret token", app.secret_token)
    sought.add("its secret part", app.secret_token.rsplit("_", 1)[1])
    admin = app.token("admin", "read", "write")
    sought.add("an admin's token", admin)
    event = {
        "session_id": "s",
        "category": "a",
        "name": "b",
        "data": {},
        "timestamp": "2021-01-01 09:15:27",
    }
    for token in (app.secret_token, admin, admin[:-1] + "x"):
        ask("/events", "POST", json.dumps(event).encode(), token=token)
        ask("/events", "POST", b"{", token=token)
        for path in ("/events", "/events/export", "/events/1", "/api/v1/rules", "/events/rejected"):
            ask(path, token=token)
        ask("/api/v1/conversions", "POST", b'{"click_id":1,"revenue":1}', token=token)
    # Where it does not belong, it is not to be repeated either.
    answers.append(("query", server.ask(f"/events?token={admin}").body))
    answers.append(("path", server.ask(f"/api/v1/nothing/{admin}").body))
    answers.append(("cookie", server.ask("/admin/", Cookie=f"mq_owner={admin}").body))
    name, password = owner_of(server)
    sought.add("an owner's password", password)
    owner = Visitor(server)
    answers.append(("login", owner.post("/admin/login", name=name, password="wrong one").body))
    owner.log_in(name, password)
    sought.add("a session", re.search(r"mq_owner=([\w-]+)", owner.cookie)[1])
    paths = ("/admin/", "/admin/apps", "/admin/users", "/admin/audit", "/admin/health")
    answers += [(path, owner.get(path).body) for path in paths]
    made = owner.post("/admin/users", name="otto")
    shown = re.search(rb"<code[^>]*>([\w-]{12,})</code>", made.body)
    if shown:
        sought.add("a password that was made up", shown[1].decode())
    owner.post("/admin/account", old=password, new=PASSWORD, again=PASSWORD)
    sought.add("a new password", PASSWORD)
    command = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
    environ = Path(f"/proc/{server.process.pid}/environ").read_bytes()
    assert server.stop() == 0
    return server, sought, answers, command, environ


def test_no_file_of_the_data_folder_holds_one(lived):
    server, sought, *_ = lived
    looked = 0
    for path in server.data.rglob("*"):
        if path.is_file():
            looked += 1
            assert sought.found(path.read_bytes()) == [], path
    assert looked > 3


def test_the_log_holds_none_at_its_most_talkative(lived):
    server, sought, *_ = lived
    assert "marquee.access" in server.log
    assert sought.found(server.log.encode()) == []


def test_no_answer_repeats_one(lived):
    _, sought, answers, *_ = lived
    assert len(answers) > 30
    for name, body in answers:
        assert sought.found(body) == [], name


def test_a_list_of_processes_shows_none(lived):
    _, sought, _, command, environ = lived
    assert sought.found(command) == []
    assert sought.found(environ) == []


def test_what_is_sought_is_found_where_it_is(lived):
    """The tests above can fail."""
    _, sought, *_ = lived
    assert len(sought.secrets) >= 6
    for name, secret in sought.secrets.items():
        assert name in sought.found(b"x" + secret + b"y")
