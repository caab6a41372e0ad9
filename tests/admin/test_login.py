"""Users and their sessions, from outside."""

import itertools
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from unicodedata import normalize

import pytest

from tests.support import ROOT
from tests.support.audience.audience_site import wait_for
from tests.support.server_process import MarqueeProcess
from tests.support.web.admin_session import FORM_HEADERS, AdminBrowser, owner_credentials, page_text

PASSWORD = "correct horse"


def make(data: Path, *said: str, stdin: str = f"{PASSWORD}\n") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "server.py", "user", *said, "--data", str(data)]
    return subprocess.run(
        command, cwd=ROOT, input=stdin, capture_output=True, text=True, timeout=60
    )


@pytest.fixture(scope="module")
def maria(empty_server):
    """A server with a user."""
    assert make(empty_server.data, "create", "maria").returncode == 0
    return empty_server


def test_nobody_sees_a_page_without_logging_in(maria):
    for path in ("/admin/", "/admin/users", "/admin/audit?who=x", "/admin/health"):
        answer = maria.request(path)
        assert answer.status == 303
        assert answer.headers["Location"].startswith("/admin/login")
    assert maria.request("/admin/live").status == 401
    assert maria.request("/admin/users", "POST", b"name=mallory", **FORM_HEADERS).status == 401
    assert "mallory" not in make(maria.data, "list").stdout


def test_one_logs_in_and_gets_to_where_one_wanted(maria):
    visitor = AdminBrowser(maria)
    sent = visitor.get("/admin/audit?who=maria").headers["Location"]
    assert 'value="/admin/audit?who=maria"' in visitor.get(sent).text
    answer = visitor.post(
        "/admin/login", name="maria", password=PASSWORD, next="/admin/audit?who=maria"
    )
    assert (answer.status, answer.headers["Location"]) == (303, "/admin/audit?who=maria")
    cookie = answer.headers["Set-Cookie"]
    for part in ("HttpOnly", "SameSite=Lax", "Path=/admin"):
        assert part in cookie
    assert "Secure" not in cookie
    assert "created a user" not in page_text(visitor.get("/admin/audit?who=maria"))
    assert "created a user" in page_text(visitor.get("/admin/audit"))


def test_a_login_begins_a_session_of_its_own_and_ends_the_one_that_was(maria):
    visitor = AdminBrowser(maria)
    visitor.cookie = chosen = "mq_owner=chosen-by-someone-else"
    before = visitor.log_in("maria", PASSWORD).cookie
    assert before != chosen
    after = visitor.log_in("maria", PASSWORD).cookie
    assert after != before
    for cookie, status in ((chosen, 303), (before, 303), (after, 200)):
        visitor.cookie = cookie
        assert visitor.get("/admin/").status == status


def test_a_password_is_looked_at_whole(maria):
    long = "correct horse battery " * 22  # as long as may be
    assert make(maria.data, "create", "long", stdin=f"{long}\n").returncode == 0
    for wrong in (long[:-1], long.upper(), long.strip(), long + "x" * 1_000):
        answer = AdminBrowser(maria).post("/admin/login", name="long", password=wrong)
        assert answer.status == 422
    AdminBrowser(maria).log_in("long", long)


def test_a_name_and_a_password_may_be_typed_composed_or_decomposed(maria):
    name, password = "Jürgen", "Größere Kännchen 44 Öl"
    for form, other in (("NFC", "NFD"), ("NFD", "NFC")):
        typed = normalize(form, password)
        deed = "create" if form == "NFC" else "password"
        assert make(maria.data, deed, normalize(form, name), stdin=f"{typed}\n").returncode == 0
        for each in (form, other):
            AdminBrowser(maria).log_in(normalize(each, name).upper(), normalize(each, password))
    new = "Zwölf Boxkämpfer jagen"
    visitor = AdminBrowser(maria).log_in(name, password)
    fields = {"new": normalize("NFD", new), "again": normalize("NFC", new)}
    answer = visitor.post("/admin/account", old=normalize("NFD", password), **fields)
    assert answer.status == 303
    AdminBrowser(maria).log_in(name, new)


def test_strangers_from_anywhere_do_not_keep_an_owner_out_of_where_she_has_been(start_server):
    server = start_server("--proxies", "127.0.0.1")
    assert make(server.data, "create", "maria").returncode == 0
    over, statuses, numbers = threading.Event(), Counter(), itertools.count()

    def come(name: str, password: str, address: str) -> int:
        headers = {**FORM_HEADERS, "X_Forwarded_For": address}
        return (
            AdminBrowser(server).post("/admin/login", headers, name=name, password=password).status
        )

    def knock() -> None:
        while not over.is_set():
            number = next(numbers)
            address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            statuses[come(("maria", f"user{number}")[number % 2], "wrong " * 3, address)] += 1

    known = ("203.0.113.5", "2001:db8:1:2::5")
    for address in known:
        assert come("maria", PASSWORD, address) == 303
    strangers = [threading.Thread(target=knock) for _ in range(40)]
    for each in strangers:
        each.start()
    try:
        wait_for(lambda: statuses[429] > 40)  # as many wait as may
        for address in ("203.0.113.5", "2001:db8:1:2:3::6"):
            assert come("maria", PASSWORD, address) == 303
    finally:
        over.set()
        for each in strangers:
            each.join(60)
    assert set(statuses) == {422, 429}


def test_an_address_where_an_owner_has_been_is_known_after_a_restart(start_server):
    server = start_server("--proxies", "127.0.0.1")
    assert make(server.data, "create", "maria").returncode == 0

    def come(address: str, password: str = PASSWORD) -> int:
        headers = {**FORM_HEADERS, "X_Forwarded_For": address}
        fields = {"name": "maria", "password": password}
        return AdminBrowser(server).post("/admin/login", headers, **fields).status

    assert come("203.0.113.5") == 303
    assert server.stop() == 0
    server = start_server("--proxies", "127.0.0.1", data=server.data)
    attacker = itertools.count()
    wait_for(lambda: come(f"10.0.0.{next(attacker)}", "wrong " * 3) == 429)
    assert come("203.0.113.5") == 303


def test_the_cookie_is_dead_after_logging_out(maria):
    visitor = AdminBrowser(maria).log_in("maria", PASSWORD)
    cookie = visitor.cookie
    assert visitor.get("/admin/").status == 200
    answer = visitor.post("/admin/logout")
    assert (answer.status, answer.headers["Clear-Site-Data"]) == (303, '"cache"')
    assert visitor.cookie == ""
    visitor.cookie = cookie
    assert visitor.get("/admin/").status == 303


@pytest.mark.parametrize(
    "place",
    ["https://evil.example/", "//evil.example", "/admin/../x", "/\\evil.example", "javascript:x",
     "/admin/x\r\nSet-Cookie: a=b", "/admin//../..", ""],
)  # fmt: skip
def test_a_login_leads_nowhere_else(maria, place):
    answer = AdminBrowser(maria).post("/admin/login", name="maria", password=PASSWORD, next=place)
    assert answer.status == 303
    assert answer.headers["Location"].startswith("/admin/")
    assert "a=b" not in str(answer.headers.get("Set-Cookie"))


def test_what_is_wrong_is_told_in_the_same_words_and_leads_to_waiting(start_server, tmp_path):
    server = start_server()
    make(server.data, "create", "maria")
    visitor = AdminBrowser(server)
    pages = {
        visitor.post("/admin/login", name=name, password="wrong " * 3).text
        for name in ("maria", "nobody", "maria")
    }
    assert len(pages) == 1
    for _ in range(50):  # on a busy machine, some come when the wait for those before is over
        answer = visitor.post("/admin/login", name="nobody", password="wrong " * 3)
        if answer.status == 429:
            break
    began = time.monotonic()
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) >= 1
    # The right one waits as well: otherwise it could be found out meanwhile.
    status = visitor.post("/admin/login", name="maria", password=PASSWORD).status
    assert status == 429 or time.monotonic() - began >= int(answer.headers["Retry-After"])
    time.sleep(int(answer.headers["Retry-After"]))
    assert visitor.post("/admin/login", name="maria", password=PASSWORD).status == 303


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "cross-site", "Origin": "https://evil.example"}, 403),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "same-origin"}, 303),
        ({"Origin": "own"}, 303),
    ],
)
def test_a_form_is_taken_from_our_own_pages_alone(maria, headers, status):
    visitor = AdminBrowser(maria).log_in("maria", PASSWORD)
    if headers.get("Origin") == "own":
        headers = {"Origin": f"http://127.0.0.1:{maria.port}"}
    kind = {"Content_Type": FORM_HEADERS["Content_Type"]}
    assert visitor.post("/admin/logout", {**kind, **headers}).status == status


def test_the_first_user_is_made_by_the_link_that_the_terminal_named(start_server):
    server = start_server()
    time.sleep(0.3)
    link = re.search(r"(/admin/setup\?token=(\S+))", "".join(server.stdout_lines))
    assert link
    visitor = AdminBrowser(server)
    assert "There is no user yet" in page_text(visitor.get("/admin/login"))
    assert visitor.get("/admin/setup?token=other").status == 404
    assert visitor.get("/admin/setup").status == 404
    assert visitor.get(link[1]).status == 200
    fields = {"name": "maria", "password": PASSWORD, "again": PASSWORD}
    assert visitor.post("/admin/setup", token="other", **fields).status == 404
    for wrong in ({"again": "another"}, {"password": "short", "again": "short"}, {"name": "a b"}):
        assert visitor.post("/admin/setup", **{"token": link[2], **fields, **wrong}).status == 422
    answer = visitor.post("/admin/setup", token=link[2], **fields)
    assert (answer.status, answer.headers["Location"]) == (303, "/admin/")
    assert visitor.get("/admin/").status == 200
    assert AdminBrowser(server).get(link[1]).status == 404
    assert AdminBrowser(server).post("/admin/setup", token=link[2], **fields).status == 404
    assert "There is no user yet" not in page_text(AdminBrowser(server).get("/admin/login"))
    server.stop()
    again = start_server()
    time.sleep(0.3)
    assert "/admin/setup" not in "".join(again.stdout_lines)
    # A session outlives the server.
    visitor.server = again
    assert visitor.get("/admin/").status == 200


def test_a_user_whom_the_terminal_made_meanwhile_shuts_the_link(start_server):
    server = start_server("--json")
    link = json.loads(server.stdout_lines[0])["setup"]
    make(server.data, "create", "otto")
    token = link.partition("token=")[2]
    answer = AdminBrowser(server).post(
        "/admin/setup", token=token, name="eve", password=PASSWORD, again=PASSWORD
    )
    assert answer.status == 422
    assert "log in" in page_text(answer)


def test_the_sample_has_an_owner_whose_password_is_told_once(start_server):
    server = start_server("--sample")
    time.sleep(0.3)
    AdminBrowser(server).log_in(*owner_credentials(server))
    server.stop()
    again = start_server("--sample")
    time.sleep(0.3)
    assert "password" not in "".join(again.stdout_lines)


def test_users_are_made_listed_and_removed_at_the_terminal(maria):
    made = make(maria.data, "create", "otto", "--generate", "--json")
    password = json.loads(made.stdout)["password"]
    visitor = AdminBrowser(maria).log_in("otto", password)
    # It opens nothing but the page where another is chosen.
    for path in ("/admin/", "/admin/users", "/admin/live"):
        answer = visitor.get(path)
        assert (answer.status, answer.headers["Location"]) == (303, "/admin/account")
    assert visitor.post("/admin/users", name="mallory").status == 403
    assert "password was generated" in page_text(visitor.get("/admin/account"))
    same = {"old": password, "new": password, "again": password}
    assert visitor.post("/admin/account", **same).status == 422
    own = {"old": password, "new": "own horse, own battery", "again": "own horse, own battery"}
    assert visitor.post("/admin/account", **own).status == 303
    visitor.log_in("otto", own["new"])
    assert "password was generated" not in page_text(visitor.get("/admin/account"))
    assert visitor.get("/admin/").status == 200
    listed = json.loads(make(maria.data, "list", "--json").stdout)["users"]
    assert {each["name"] for each in listed} >= {"maria", "otto"}
    assert make(maria.data, "create", "otto").returncode == 1
    weak = make(maria.data, "create", "paula", stdin="password123\n")
    assert weak.returncode == 1 and "first" in weak.stderr and "Traceback" not in weak.stderr
    assert make(maria.data, "password", "otto", stdin="another horse\n").returncode == 0
    assert visitor.get("/admin/").status == 303
    visitor.log_in("otto", "another horse")
    made = make(maria.data, "password", "otto", "--generate", "--json")
    visitor.log_in("otto", json.loads(made.stdout)["password"])
    assert visitor.get("/admin/").headers["Location"] == "/admin/account"
    assert make(maria.data, "remove", "otto", "--yes").returncode == 0
    assert visitor.get("/admin/").status == 303
    assert make(maria.data, "remove", "otto", "--yes").returncode == 1


def test_users_are_made_and_removed_in_the_pages(maria):
    visitor = AdminBrowser(maria).log_in("maria", PASSWORD)
    made = visitor.post("/admin/users", name="paula")
    password = re.search(r'class="secret">([^<]+)<', made.text)[1]
    assert password not in visitor.get("/admin/users").text
    assert visitor.post("/admin/users", name="paula").status == 422
    paula = AdminBrowser(maria).log_in("paula", password)
    assert paula.get("/admin/").headers["Location"] == "/admin/account"
    own = {"old": password, "new": "own horse, own battery", "again": "own horse, own battery"}
    assert paula.post("/admin/account", **own).status == 303
    paula.log_in("paula", own["new"])
    assert paula.post("/admin/users/remove", name="paula").status == 422
    assert visitor.get("/admin/users/remove?name=paula").status == 200
    assert visitor.post("/admin/users/remove", name="paula").status == 303
    assert paula.get("/admin/").status == 303
    assert password not in visitor.get("/admin/audit").text


def test_a_new_password_ends_all_sessions_of_its_user(maria):
    make(maria.data, "create", "nina")
    nina, elsewhere = (AdminBrowser(maria).log_in("nina", PASSWORD) for _ in range(2))
    new = {"new": "another horse", "again": "another horse"}
    assert nina.post("/admin/account", old="wrong", **new).status == 422
    assert nina.post("/admin/account", old=PASSWORD, new="x" * 12, again="x" * 12).status == 422
    assert nina.post("/admin/account", old=PASSWORD, **new).status == 303
    assert nina.get("/admin/").status == elsewhere.get("/admin/").status == 303
    nina.log_in("nina", "another horse")


def test_the_live_charts_go_on_until_one_is_logged_out(maria):
    visitor = AdminBrowser(maria).log_in("maria", PASSWORD)
    connection = maria.connect()
    connection.request("GET", "/admin/live", headers={"Cookie": visitor.cookie})
    stream = connection.getresponse()
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    told = iter(lambda: stream.readline().decode(), "")
    first = json.loads(next(line for line in told if line.startswith("data: "))[6:])
    assert "<svg" in first["events"]
    visitor.post("/admin/logout")
    more = (line for line in told if line.startswith("data: "))
    assert len(list(itertools.islice(more, 100))) < 100  # and then it ends
    connection.close()


def test_a_server_that_ends_does_not_wait_for_who_watches(start_server):
    server = start_server("--sample", "--drain-seconds", "600")
    time.sleep(0.3)
    visitor = AdminBrowser(server).log_in(*owner_credentials(server))
    connection = server.connect()
    connection.request("GET", "/admin/live", headers={"Cookie": visitor.cookie})
    stream = connection.getresponse()
    stream.readline()
    assert server.stop() == 0
    connection.close()


def test_the_stream_goes_on_for_who_came_over_tls(start_server):
    """Its session is looked at every five beats, under the cookie's name over TLS."""
    server = start_server("--sample", "--no-traffic", "--proxies", "127.0.0.1")
    name, password = owner_credentials(server)
    over_tls = {"X_Forwarded_Proto": "https"}
    visitor = AdminBrowser(server)
    answer = visitor.post(
        "/admin/login", {**FORM_HEADERS, **over_tls}, name=name, password=password
    )
    assert answer.status == 303 and visitor.cookie.startswith("__")
    connection = server.connect()
    headers = {"Cookie": visitor.cookie, "X-Forwarded-Proto": "https"}
    connection.request("GET", "/admin/live", headers=headers)
    stream = connection.getresponse()
    beats = 0
    while beats < 6:
        line = stream.readline()
        assert line, f"it ended after {beats} beats"
        beats += line.startswith(b"data: ")
    connection.close()


@pytest.mark.parametrize(
    ("proxies", "host", "origin", "status"),
    [
        ("", "app.test", "http://app.test", 303),
        ("", "app.test:8449", "http://app.test:8449", 303),
        ("", "APP.test:80", "http://app.test", 303),
        ("", "app.test:443", "https://app.test", 303),
        ("", "app.test:443", "http://app.test", 403),
        ("", "app.test", "http://app.test:8449", 403),
        ("127.0.0.1", "app.test", "http://app.test:8449", 303),
        ("127.0.0.1", "[::1]", "http://[::1]:8449", 303),
        ("127.0.0.1", "app.test:8000", "http://app.test:8449", 403),
        ("127.0.0.1", "marquee", "http://app.test:8449", 403),
        ("127.0.0.1", "app.test", "http://evil.test:8449", 403),
        ("127.0.0.1", "app.test", "http://app.test.evil.test", 403),
        ("127.0.0.1", "app.test", "http://app.test@evil.test", 403),
        ("127.0.0.1", "app.test", "null", 403),
    ],
)
def test_a_form_is_taken_from_this_hosts_pages_also_where_a_proxy_hides_the_port(
    fronted, proxies, host, origin, status
):
    server = fronted[proxies]
    name, password = owner_credentials(server)
    said = {"Content_Type": FORM_HEADERS["Content_Type"], "Host": host, "Origin": origin}
    answer = AdminBrowser(server).post("/admin/login", said, name=name, password=password)
    assert answer.status == status
    if status == 403 and "@" not in origin and origin != "null":
        assert "$http_host" in answer.text and "proxies" in answer.text
    # A browser that says where the form comes from is believed at once, or not at all.
    said["Sec_Fetch_Site"] = "same-site"
    assert AdminBrowser(server).post("/admin/login", said, name=name).status == 403


@pytest.fixture(scope="module")
def fronted(tmp_path_factory):
    """Servers by the proxies that are named to them."""
    running = {
        proxies: MarqueeProcess(
            tmp_path_factory.mktemp("fronted") / "data",
            *("--sample", "--no-traffic", "--proxies", proxies),
        )
        for proxies in ("", "127.0.0.1")
    }
    yield running
    for each in running.values():
        assert each.stop() == 0, each.log
