"""Stored and reflected XSS: what others said is text wherever an owner or a visitor reads it."""

import json
from collections.abc import Callable
from html.parser import HTMLParser
from urllib.parse import quote, urlencode

import pytest

from tests.support.audience.audience_site import wait_for
from tests.support.audience.faulty_upstream import FaultyUpstream
from tests.support.server_process import MarqueeProcess
from tests.support.web.admin_session import AdminBrowser, owner_credentials
from tests.support.web.attack_target import (
    HOSTILE_MARKUP,
    SCRIPT_MARKER,
    AttackTarget,
    attack_event,
    with_query,
)

# Where scripts may be from, and what may be in a page's markup at all.
SCRIPTS = ("/static/", "/api/v1/docs/")
NEVER = {"iframe", "object", "embed", "base", "applet", "math", "template"}
ADDRESSES = {"href", "src", "action", "formaction", "data", "xlink:href"}
FILE = "x<img src=x onerror=alert(1)>.csv"


class Markup(HTMLParser):
    """What in a page a browser would run, load or be led by."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.wrong: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attrs}
        self.text += said.values()
        if tag in NEVER or any(name.startswith("on") or name == "style" for name in said):
            self.wrong.append(self.get_starttag_text() or tag)
        if tag == "script" and not said.get("src", "").startswith(SCRIPTS):
            self.wrong.append("a script within the page")
        for name in ADDRESSES & said.keys():
            scheme = said[name].strip().lower().partition(":")[0]
            if scheme in ("javascript", "data", "vbscript") or said[name] == "x":
                self.wrong.append(f"{name}={said[name]}")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def in_app(target: AttackTarget) -> list[str]:
    target.owner.post("/admin/apps", name=HOSTILE_MARKUP)
    return ["apps", "events", "rejected-events", "schemas/edit", "stories", "audit"]


def in_story(target: AttackTarget) -> list[str]:
    metadata = json.dumps({"img": HOSTILE_MARKUP, HOSTILE_MARKUP: [HOSTILE_MARKUP]})
    response = target.owner.post(
        "/admin/stories/edit", app="1", id="77", metadata=metadata, order="9"
    )
    assert response.status == 303, response.text
    return ["stories?app=1", "stories/edit?id=77", "stories/77/remove"]


def in_event(target: AttackTarget) -> list[str]:
    (stored,) = target.send(
        attack_event(
            category=HOSTILE_MARKUP,
            name=HOSTILE_MARKUP,
            session_id=HOSTILE_MARKUP,
            data={HOSTILE_MARKUP: HOSTILE_MARKUP},
            sender_id=HOSTILE_MARKUP,
        )
    )
    number = stored["id"]
    session = urlencode({"id": HOSTILE_MARKUP})
    return [
        "events",
        with_query(
            "events", name=HOSTILE_MARKUP, category=HOSTILE_MARKUP, session_id=HOSTILE_MARKUP
        ),
        f"events/{number}",
        f"events/{number}/delete",
        f"sessions?{session}",
        f"sessions/erase?{session}",
        "schemas/edit",
    ]


def in_reject(target: AttackTarget) -> list[str]:
    (rejected,) = target.send(
        attack_event(timestamp=HOSTILE_MARKUP, **{HOSTILE_MARKUP: HOSTILE_MARKUP})
    )
    assert rejected["status"] == "rejected"
    listed = target.owner.get("/admin/rejected-events").text
    number = listed.partition("/admin/rejected-events/")[2].partition('"')[0]
    return ["rejected-events", f"rejected-events/{number}"]


def in_reject_of_bytes(target: AttackTarget) -> list[str]:
    said = {"Authorization": f"Bearer {target.secret_token}", "Content_Type": "application/json"}
    target.server.request("/events", "POST", b"\xff" + HOSTILE_MARKUP.encode(), **said)
    return ["rejected-events"]


def in_rule(target: AttackTarget) -> list[str]:
    text = json.dumps(
        {"description": HOSTILE_MARKUP, "properties": {HOSTILE_MARKUP: {"const": HOSTILE_MARKUP}}}
    )
    said = {"app": "0", "category": HOSTILE_MARKUP, "name": HOSTILE_MARKUP, "schema": text}
    assert target.owner.post("/admin/schemas/edit", **said, action="save").status == 303
    return [
        "schemas",
        with_query("schemas/edit", category=HOSTILE_MARKUP, name=HOSTILE_MARKUP),
        "audit",
    ]


def in_upload(target: AttackTarget) -> list[str]:
    content = (
        f"click_id,banner_id,campaign_id\r\n{HOSTILE_MARKUP.replace(',', '')},1,1\r\n".encode()
    )
    files = [
        ("1/clicks_1.csv", content),
        (FILE, b"x"),
        (f"{HOSTILE_MARKUP.replace(chr(34), '')}.csv", b"x"),
    ]
    page = target.wait_for_upload(target.upload(*files))
    check(page.text, reaches=FILE)
    number = page.text.partition("/admin/imports/")[2].partition('"')[0]
    return [f"imports/{number}"] if number.isdigit() else []


def in_host(target: AttackTarget) -> list[str]:
    response = target.owner.post(f"/admin/apps/{target.app_id}", hosts=HOSTILE_MARKUP)
    check(response.text, reaches=None)
    return []


PLANTED: list[Callable[[AttackTarget], list[str]]] = [
    in_app,
    in_story,
    in_event,
    in_reject,
    in_reject_of_bytes,
    in_rule,
    in_upload,
    in_host,
]
# What an address says comes back in a page, or in an error.
SAID = [
    "login?next={}",
    "setup?token={}",
    "audit?who={}",
    "users/remove?name={}",
    "events?session_id={}&category={}&name={}",
    "events?from={}",
    "events?cursor={}",
    "rejected-events?app={}",
    "rejected-events?from={}",
    "schemas/edit?category={}&name={}",
    "stories?app={}",
    "sessions?id={}",
    "sessions/erase?id={}",
    "campaigns?slot={}",
    "campaigns/1?slot={}",
    "uploads/{}",
    "imports?before={}",
    "apps/1/revoke?token={}",
    "{}",
]


def check(text: str, reaches: str | None = SCRIPT_MARKER) -> None:
    """Nothing in this page runs; what was planted is in it, as text."""
    markup = Markup(text)
    assert markup.wrong == []
    assert reaches is None or any(reaches in each for each in markup.text)


@pytest.fixture(scope="module")
def planted(target) -> dict[str, list[str]]:
    """By field, the pages in which it is read."""
    return {plant.__name__: plant(target) for plant in PLANTED}


@pytest.mark.parametrize("field", [plant.__name__ for plant in PLANTED])
def test_what_was_stored_is_text_in_every_page(target, planted, field):
    for path in planted[field]:
        response = target.owner.get(f"/admin/{path}")
        assert response.status == 200, path
        check(response.text, reaches=SCRIPT_MARKER if field != "in_upload" else None)


@pytest.mark.parametrize("path", SAID)
def test_what_an_address_says_is_text(target, path):
    for visitor in (target.owner, AdminBrowser(target.server)):
        response = visitor.get(f"/admin/{path.replace('{}', quote(HOSTILE_MARKUP, safe=''))}")
        check(response.text, reaches=None)


@pytest.mark.parametrize(
    "path", ["/campaigns/{}", "/banners/{}", "/live/{}", "/static/{}", "/api/v1/stories/{}", "/{}"]
)
def test_what_an_error_says_is_no_markup(target, path):
    response = target.server.request(
        path.format(quote(HOSTILE_MARKUP, safe="")), Accept="text/html"
    )
    if response.headers["Content-Type"].startswith("text/html"):
        check(response.text, reaches=None)
    else:
        assert response.headers["Content-Type"].startswith("application/problem+json")
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", [HOSTILE_MARKUP, "<b>", "a b", '"', "a'b", "x" * 101, ""])
def test_a_users_name_has_no_markup_in_it(target, name):
    response = target.owner.post("/admin/users", name=name)
    assert response.status == 422
    check(response.text, reaches=None)


@pytest.fixture(scope="module")
def upstream():
    """Another server, whose pages have titles and paths that are markup."""
    server = FaultyUpstream()
    server.mode = "pages"
    server.pages_json = json.dumps(
        [{"i": HOSTILE_MARKUP, "path": f"/{HOSTILE_MARKUP}", "visitors": 40},
         {"i": "y", "path": "javascript:alert(1)", "visitors": 30}]
    ).encode()  # fmt: skip
    yield server
    server.close()


@pytest.fixture(scope="module")
def following(upstream, tmp_path_factory):
    """A server that reads its audience there."""
    server = MarqueeProcess(
        tmp_path_factory.mktemp("following") / "data", "--sample", "--upstream", upstream.address
    )
    visitor = AdminBrowser(server)
    wait_for(lambda: "password" in "".join(server.stdout_lines))
    visitor.log_in(*wait_for(lambda: owner_credentials(server)))
    place = with_query("/live/www.example.com", apikey="a key")
    wait_for(lambda: "40" in server.request(place).text)
    yield server, visitor, place
    assert server.stop() == 0


def test_titles_and_paths_of_an_upstream_are_text(following):
    server, visitor, place = following
    check(server.request(place).text)
    check(visitor.get("/admin/audience").text)
    check(visitor.get("/admin/").text, reaches=None)


def ran(browser, address: str) -> bool:
    """Whether what was planted runs in a browser, or is kept from it by the policy alone."""
    browser.get_log("browser")  # of before
    browser.get(address)
    browser.implicitly_wait(0)
    wait_for(lambda: browser.execute_script("return document.readyState") == "complete")
    refused = [each for each in browser.get_log("browser") if "Security Policy" in each["message"]]
    return bool(browser.execute_script("return window.ran") or refused)


def enter(driver, server, cookie: str) -> str:
    """Have the browser be an owner's; the root's address."""
    root = f"http://127.0.0.1:{server.port}"
    driver.get(f"{root}/admin/login")
    name, _, value = cookie.partition("=")
    driver.add_cookie({"name": name, "value": value, "path": "/admin"})
    return root


def test_nothing_runs_in_a_browser(driver, target, planted):
    root = enter(driver, target.server, target.owner.cookie)
    for pages in planted.values():
        for path in pages[:4]:
            assert not ran(driver, f"{root}/admin/{path}"), path
            assert driver.current_url.startswith(f"{root}/admin/{path[:4]}")


def test_nothing_of_an_upstream_runs_in_a_browser(driver, following):
    server, visitor, place = following
    root = enter(driver, server, visitor.cookie)
    # Also what the stream sends to the page.
    assert not ran(driver, root + place)
    wait_for(lambda: "live" in driver.find_element("css selector", "[data-status]").text)
    assert not driver.execute_script("return window.ran")
    assert not ran(driver, f"{root}/admin/audience")


SVG = f"""<svg xmlns="http://www.w3.org/2000/svg" onload="{SCRIPT_MARKER}">
<script>{SCRIPT_MARKER}</script>
<foreignObject><body xmlns="http://www.w3.org/1999/xhtml">
<img src="x" onerror="{SCRIPT_MARKER}"/></body>
</foreignObject><a href="javascript:{SCRIPT_MARKER}"><text y="20">x</text></a></svg>"""


def test_an_image_that_is_a_script_runs_nowhere(driver, target):
    target.wait_for_upload(target.upload(("images/image_1.svg", SVG.encode())))
    response = target.server.request("/banners/1")
    assert response.headers["Content-Type"] == "image/svg+xml" and SCRIPT_MARKER in response.text
    policy = response.headers["Content-Security-Policy"]
    assert "sandbox" in policy and "default-src 'none'" in policy and "script" not in policy
    driver.get(f"http://127.0.0.1:{target.server.port}/banners/1")
    assert not driver.execute_script("return window.ran")


def test_without_the_guards_it_runs(driver, weakened):
    pages = in_event(weakened)
    text = weakened.owner.get(f"/admin/{pages[0]}").text
    assert Markup(text).wrong
    root = enter(driver, weakened.server, weakened.owner.cookie)
    assert ran(driver, f"{root}/admin/{pages[0]}")
    assert driver.execute_script("return window.ran") == 1
    weakened.wait_for_upload(weakened.upload(("images/image_1.svg", SVG.encode())))
    assert ran(driver, f"{root}/banners/1")
