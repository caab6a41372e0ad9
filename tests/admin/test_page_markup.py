"""The markup of every page: what a validator would say, and what a page must not mix up."""

import ast
import html
import json
import re
import struct
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from tests.support import ROOT
from tests.support.audience.audience_site import wait_for
from tests.support.audience.faulty_upstream import FaultyUpstream
from tests.support.server_process import MarqueeProcess
from tests.support.web.admin_session import AdminBrowser, owner_credentials, page_text
from tests.support.web.admin_uploads import AdminPagesApp, upload_files, wait_for_upload
from tests.support.web.admin_uploads import campaign_files as folder

VOID = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}
SVG = {"path", "polyline", "line", "rect"}
OPEN_ENDED = {"option"}
# What may stand in these, where anything else is a fault.
CHILDREN = {
    "ul": {"li"}, "ol": {"li"}, "dl": {"dt", "dd", "div"}, "table": {"thead", "tbody"},
    "thead": {"tr"}, "tbody": {"tr"}, "tr": {"th", "td"}, "select": {"option"},
}  # fmt: skip
BLOCKS = {
    "address", "article", "details", "div", "dl", "fieldset", "figure", "form", "h1", "h2", "h3",
    "header", "main", "nav", "ol", "p", "pre", "section", "table", "ul",
}  # fmt: skip
PHRASING_ONLY = {"p", "h1", "h2", "h3", "label", "span", "button", "pre", "legend", "summary"}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z")
UNSEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")

PAGES = (
    "/", "/live/played.example?apikey=token_played", "/campaigns/1/", "/campaigns/0/",
    "/api/v1/docs/", "/admin/login",
)  # fmt: skip
OWN = (
    "", "campaigns", "campaigns/1", "campaigns/1/preview", "campaigns/upload", "imports",
    "imports/1", "apps", "apps/1", "apps/1/revoke?token=1", "audience", "stories", "stories/edit",
    "stories/edit?id=1", "stories/1/remove", "events", "schemas", "schemas/edit",
    "schemas/edit?category=page+interaction&name=pageview", "rejected-events", "health", "users",
    "users/remove?name=x", "audit", "account", "sessions/erase?id=x", "sessions?id=x", "nothing",
)  # fmt: skip


class Markup(HTMLParser):
    """Collects the faults of a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.faults = [f"character {each!r}" for each in UNSEEN.findall(text)]
        self.open: list[str] = []
        self.ids: list[str] = []
        self.named: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        self.faults += [f"<{each}> is not closed" for each in self.open]
        self.faults += [f"id {each} twice" for each in {*self.ids} if self.ids.count(each) > 1]
        self.faults += [f"no id {each}" for each in self.named if each not in self.ids]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        if len(said) != len(attrs):
            self.faults.append(f"an attribute twice: {self.get_starttag_text()}")
        while self.open and self.open[-1] in OPEN_ENDED and tag in ("option", "optgroup"):
            self.open.pop()
        parent = self.open[-1] if self.open else ""
        if parent in CHILDREN and tag not in CHILDREN[parent]:
            self.faults.append(f"<{tag}> in <{parent}>")
        if tag in BLOCKS and (inside := PHRASING_ONLY.intersection(self.open)):
            self.faults.append(f"<{tag}> in {inside}")
        if tag in ("a", "button") and {"a", "button"}.intersection(self.open):
            self.faults.append(f"<{tag}> in another")
        if tag == "th":
            self.words = []
            if said.get("scope") not in ("row", "col"):
                self.faults.append(f"no scope: {self.get_starttag_text()}")
        if tag == "time" and not MOMENT.fullmatch(said.get("datetime") or ""):
            self.faults.append(f"datetime: {said}")
        if tag == "img" and said.get("alt") is None:
            self.faults.append(f"no alt: {said}")
        self.ids += [said["id"] or ""] if "id" in said else []
        for name in ("aria-describedby", "for", "popovertarget"):
            self.named += (said.get(name) or "").split()
        if (said.get("href") or "").startswith("#"):
            self.named.append((said["href"] or "")[1:])
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in SVG:
            self.faults.append(f"<{tag}/>")

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open[-1] in OPEN_ENDED and self.open[-1] != tag:
            self.open.pop()
        if tag == "th" and not "".join(self.words).strip():
            self.faults.append("an empty th")
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def faults(answer) -> list[str]:
    return Markup(answer.text).faults


@pytest.fixture(scope="module")
def owner(sample_server) -> AdminBrowser:
    return AdminBrowser(sample_server).log_in(*owner_credentials(sample_server))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<p>a<b>c</p>", "</p>"), ("<ul><p>a</p></ul>", "<p> in <ul>"), ("a\x01", "character"),
        ('<th scope="col"></th>', "empty th"), ("<th>a</th>", "no scope"),
        ('<time datetime="2026-01-01T00:00:00.123456Z">x</time>', "datetime"),
        ('<p id="a"></p><p id="a"></p>', "twice"), ('<a href="#x">a</a>', "no id x"),
        ("<p><div></div></p>", "<div> in"), ("<div>", "not closed"),
    ],
)  # fmt: skip
def test_a_fault_of_markup_is_seen(text, fault):
    assert fault in " ".join(Markup(text).faults)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_valid(sample_server, path):
    assert faults(sample_server.request(path)) == []


@pytest.mark.parametrize("path", OWN)
def test_an_owners_page_is_valid(owner, path):
    assert faults(owner.get(f"/admin/{path}")) == []


def test_pages_with_something_in_them_are_valid(owner):
    app = AdminPagesApp(owner, "Full", hosts="www.example.com")
    app.send()
    app.send(timestamp="never")
    said = wait_for_upload(
        owner, upload_files(owner, *folder(811, bad_rows=2), ("mine/notes.txt", b"x"))
    )
    assert "8 rejected" in said
    number = re.search(r"/admin/imports/(\d+)", owner.get("/admin/imports").text)[1]
    event = re.search(r"/admin/events/(\d+)", owner.get("/admin/events").text)[1]
    reject = re.search(r"/admin/rejected-events/(\d+)", owner.get("/admin/rejected-events").text)[1]
    session = re.search(r"/admin/sessions\?id=([\w-]+)", owner.get("/admin/events").text)[1]
    for path in (
        f"apps/{app.id}", f"imports/{number}", f"events/{event}", f"events/{event}/delete",
        f"rejected-events/{reject}", "rejected-events", "events", f"sessions?id={session}", "audit",
    ):  # fmt: skip
        answer = owner.get(f"/admin/{path}")
        assert answer.status == 200
        assert faults(answer) == [], path
    for path, fields in (
        ("apps", {"name": "Full"}), ("apps", {"name": "Valid"}), ("users", {"name": "val"}),
        ("users", {"name": "a b"}), ("account", {"old": "x"}),
        ("schemas/edit", {"category": "a", "name": "b", "app": "0",
                          "schema": "{", "action": "dry-run"}),
        ("schemas/edit", {"category": "page interaction", "name": "pageview", "app": "0",
                          "schema": "{}", "action": "dry-run"}),
        ("stories/edit", {"app": "1", "id": "x", "metadata": "{"}),
    ):  # fmt: skip
        assert faults(owner.post(f"/admin/{path}", **fields)) == [], path


# Templates.


def bound(text: str) -> set[str]:
    """The variables that a template's loops and `set` bind: they outlive the loop in Tornado."""
    loops = re.findall(r"{%\s*for\s+(.+?)\s+in\s", text) + re.findall(r"{%\s*set\s+(\w+)\s*=", text)
    return {name.strip() for each in loops for name in each.split(",")}


def closure(path: Path) -> str:
    """A template with those that it extends and includes."""
    text = path.read_text()
    for name in re.findall(r'{%\s*(?:extends|include)\s+"([^"]+)"', text):
        text += closure(path.parent / name)
    return text


def given() -> dict[str, set[str]]:
    """By the template, the variables that handlers give to it."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / "handlers").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = node.args[0]
            if isinstance(name, ast.Constant) and str(name.value).endswith(".html"):
                key = str(name.value)
                key = key if "send_page" not in ast.unparse(node.func) else f"admin/{key}"
                named = {each.arg for each in node.keywords if each.arg}
                found.setdefault(key, set()).update(named)
    return found


LAYOUT_NAMES = {"title", "current_user", "navigation", "done", "error", "formatting", "page_url"}


@pytest.mark.parametrize("name", sorted(given()))
def test_no_loop_of_a_template_replaces_what_a_handler_gave_to_it(name):
    """The nav's loop over addresses replaced the page's `address`: curl /admin/audit/events."""
    path = ROOT / "templates" / name
    text = closure(path)
    assert not bound(text) & (given()[name] | LAYOUT_NAMES)
    # Nor is what a page shows what a template that it includes has bound.
    own = path.read_text()
    shown = {
        node.id
        for each in re.findall(r"{{(.+?)}}", own)
        for node in ast.walk(ast.parse(each.strip()))
        if isinstance(node, ast.Name)
    }
    assert not bound(text.replace(own, "", 1)) & (shown - bound(own))


# What is shown.


def test_a_new_app_shows_a_command_that_works(owner):
    page = owner.post("/admin/apps", name="Curl", hosts="curl.example, www.curl.example")
    command = html.unescape(re.search(r"<pre>(curl.*?)</pre>", page.text, re.DOTALL)[1])
    root = f"http://127.0.0.1:{owner.server.port}"
    assert command.startswith(f"curl {root}/events -H ")
    token = re.search(r"Bearer (mq_\w+[\w-]*)", command)[1]
    body = re.search(r"-d '(.*)'", command, re.DOTALL)[1]
    assert json.loads(body)["data"]["host"] == "curl.example"
    answer = owner.server.request(
        "/events", "POST", body.encode(), Authorization=f"Bearer {token}",
        Content_Type="application/json",
    )  # fmt: skip
    assert answer.status == 202


def test_an_app_shows_the_beacon_to_paste(owner):
    app = AdminPagesApp(owner, "Beacon", hosts="")
    assert "Add the hosts" in page_text(owner.get(f"/admin/apps/{app.id}"))
    owner.post(f"/admin/apps/{app.id}", hosts="shop.example, localhost:3000")
    page = owner.get(f"/admin/apps/{app.id}").text
    snippet = html.unescape(re.search(r'<pre id="beacon">(.*?)</pre>', page, re.DOTALL)[1])
    found = re.fullmatch(r'<script src="(.+)" data-token="([\w.~-]+)" defer></script>', snippet)
    assert found[1] == f"http://127.0.0.1:{owner.server.port}/static/beacon.js"
    assert owner.server.request(f"/live/shop.example?apikey={found[2]}").status == 200
    assert f'href="/live/shop.example?apikey={found[2]}"' in page
    assert "the pages of shop.example, localhost:3000" in page_text(
        owner.get(f"/admin/apps/{app.id}")
    )


def test_received_control_characters_are_written_out(owner):
    app = AdminPagesApp(owner, "Control")
    raw = b'{"name": "a\x00b\x1b[31m\x7f\xc2\x85\xe2\x80\xae", broken'
    said = {"Authorization": f"Bearer {app.secret_token}", "Content_Type": "application/json"}
    assert owner.server.request("/events", "POST", raw, **said).status == 400
    answer = owner.get("/admin/rejected-events")
    assert faults(answer) == []
    assert "a\\x00b\\x1b[31m\\x7f\\x85\\u202e" in answer.text
    reject = re.search(r"/admin/rejected-events/(\d+)", answer.text)[1]
    one = owner.get(f"/admin/rejected-events/{reject}")
    assert faults(one) == []
    assert "\\x00b" in one.text
    kept = app.send(category="c", name="n", data={"host": "a\u001bb", "path": "/"})
    assert kept.status == 202, kept.text
    assert faults(owner.get("/admin/events")) == []


@pytest.mark.parametrize("path", ["nothing", "nothing/at/all", "apps/999", "events/1"])
def test_an_error_keeps_the_owners_navigation(owner, path):
    answer = owner.get(f"/admin/{path}")
    assert answer.status == 404
    assert 'href="/admin/campaigns"' in answer.text and "Log out" in page_text(answer)
    stranger = owner.server.request(f"/admin/{path}")
    assert stranger.status in (303, 404) and "Log out" not in page_text(stranger)


def test_a_form_tells_the_rules_of_names_and_passwords(owner):
    page = page_text(owner.get("/admin/users"))
    assert "1 to 100 letters, digits and . _ @ + -" in page
    wrong = owner.post("/admin/users", name="a b")
    assert wrong.status == 422 and "1 to 100 letters, digits and . _ @ + -" in page_text(wrong)
    assert "10 to 500 characters" in page_text(owner.get("/admin/account"))


def test_what_an_upstream_said_long_ago_is_not_shown_as_now(tmp_path):
    upstream = FaultyUpstream()
    upstream.mode = "pages"
    upstream.pages_json = json.dumps([{"i": "A", "path": "/a", "visitors": 41}]).encode()
    server = MarqueeProcess(
        tmp_path / "data",
        *("--sample", "--no-traffic", "--upstream", upstream.address, "--reading-seconds", "0.5"),
    )
    try:
        owner = AdminBrowser(server).log_in(*owner_credentials(server))
        asked = "/api/v1.0/increasingconcurrents?apikey=k&host=www.example.com"
        wait_for(lambda: server.request(asked).status == 200)
        assert "41 visitors now" in page_text(owner.get("/admin/audience"))
        wait_for(lambda: re.search(r"41 now", page_text(owner.get("/admin/"))))
        upstream.close()
        wait_for(lambda: "stale" in page_text(owner.get("/admin/audience")), 30)
        page = page_text(owner.get("/admin/audience"))
        assert re.search(r"41 visitors \d+ (ms|s|minutes) ago", page), page
        assert "41 visitors now" not in page
        wait_for(
            lambda: re.search(r"41 are stale: read \d+ s ago", page_text(owner.get("/admin/"))), 30
        )
    finally:
        assert server.stop() == 0, server.log


# Images.


def png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(b"\0" + b"\xc0\x40\x20" * width for _ in range(height))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_images_of_every_shape_fit_and_small_ones_are_not_enlarged(owner, browser):
    sizes = ((40, 30), (60, 1_500), (1_500, 40), (40, 30), (40, 30))
    images = [(f"mine/images/image_{n}.png", png(*size)) for n, size in enumerate(sizes, 1)]
    wait_for_upload(owner, upload_files(owner, *folder(901), *images))
    root = f"http://127.0.0.1:{owner.server.port}"
    browser.get(f"{root}/admin/login")
    name, _, value = owner.cookie.partition("=")
    browser.add_cookie({"name": name, "value": value, "path": "/admin"})
    loaded = "return [...document.images].every((it) => it.complete && it.naturalWidth)"
    for width in (390, 1280):
        browser.set_window_size(width, 844)
        browser.get(f"{root}/admin/campaigns/901")
        browser.execute_script("for (const it of document.images) it.loading = 'eager'")
        wait_for(lambda: browser.execute_script(loaded))
        for image in browser.find_elements(By.CSS_SELECTOR, "tbody img"):
            assert image.size["width"] == 112 and image.size["height"] == 63
        for banner, size in ((1, (40, 30)), (2, None), (3, None)):
            browser.get(f"{root}/admin/campaigns/901/preview?slot=1")
            image = "document.querySelector('.preview img')"
            browser.execute_script(f"{image}.src = '/banners/{banner}'")
            wait_for(lambda: browser.execute_script(loaded))
            shown = browser.execute_script(
                f"const it = {image}; return [it.clientWidth, it.clientHeight, it.naturalWidth,"
                " it.naturalHeight, innerHeight, document.documentElement.scrollWidth - innerWidth]"
            )
            assert shown[5] <= 0
            assert shown[0] <= shown[2] and shown[1] <= min(shown[3], shown[4])
            assert size is None or tuple(shown[:2]) == size
        browser.get(f"{root}/campaigns/901/")
        wait_for(lambda: browser.execute_script(loaded))
        shown = browser.execute_script(
            "const it = document.images[0]; return [it.clientWidth, it.naturalWidth]"
        )
        assert shown[0] <= shown[1]


def test_notices_and_buttons_keep_their_distance(owner, browser):
    root = f"http://127.0.0.1:{owner.server.port}"
    browser.get(f"{root}/admin/login")
    name, _, value = owner.cookie.partition("=")
    browser.add_cookie({"name": name, "value": value, "path": "/admin"})
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 320, "height": 700, "deviceScaleFactor": 1, "mobile": False},
    )
    try:
        for path in ("campaigns", "campaigns/1", "campaigns/1/preview", "imports"):
            browser.get(f"{root}/admin/{path}")
            boxes = browser.execute_script(
                "return [...document.querySelectorAll('main .button')].map((it) => {"
                "const r = it.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]})"
            )
            for number, one in enumerate(boxes):
                for other in boxes[:number]:
                    apart = max(
                        one[0] - other[2], other[0] - one[2], one[1] - other[3], other[1] - one[3]
                    )
                    assert apart >= 4, (path, one, other)
        browser.get(f"{root}/admin/schemas")
        margin = browser.execute_script(
            "const it = document.createElement('div'); it.className = 'notice bad';"
            "it.textContent = 'x'; document.querySelector('main').append(it);"
            "return parseFloat(getComputedStyle(it).marginBottom)"
        )
        assert margin >= 8
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
