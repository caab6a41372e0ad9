"""Stored and reflected XSS: data of clients is text on every page."""

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

# Allowed sources of scripts.
SCRIPT_SOURCES = ("/static/", "/api/v1/docs/")
FORBIDDEN_TAGS = {"iframe", "object", "embed", "base", "applet", "math", "template"}
URL_ATTRIBUTES = {"href", "src", "action", "formaction", "data", "xlink:href"}
HOSTILE_FILE_NAME = "x<img src=x onerror=alert(1)>.csv"


class ExecutableMarkup(HTMLParser):
    """Finds markup of a page that a browser would execute or load."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.executable: list[str] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.text += attributes.values()
        if tag in FORBIDDEN_TAGS or any(
            name.startswith("on") or name == "style" for name in attributes
        ):
            self.executable.append(self.get_starttag_text() or tag)
        if tag == "script" and not attributes.get("src", "").startswith(SCRIPT_SOURCES):
            self.executable.append("an inline script")
        for name in URL_ATTRIBUTES & attributes.keys():
            scheme = attributes[name].strip().lower().partition(":")[0]
            if scheme in ("javascript", "data", "vbscript") or attributes[name] == "x":
                self.executable.append(f"{name}={attributes[name]}")

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def plant_in_app(target: AttackTarget) -> list[str]:
    target.owner.post("/admin/apps", name=HOSTILE_MARKUP)
    return ["apps", "events", "rejected-events", "schemas/edit", "stories", "audit"]


def plant_in_story(target: AttackTarget) -> list[str]:
    metadata = json.dumps({"img": HOSTILE_MARKUP, HOSTILE_MARKUP: [HOSTILE_MARKUP]})
    response = target.owner.post(
        "/admin/stories/edit", app="1", id="77", metadata=metadata, order="9"
    )
    assert response.status == 303, response.text
    return ["stories?app=1", "stories/edit?id=77", "stories/77/remove"]


def plant_in_event(target: AttackTarget) -> list[str]:
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


def plant_in_rejected_event(target: AttackTarget) -> list[str]:
    (rejected,) = target.send(
        attack_event(timestamp=HOSTILE_MARKUP, **{HOSTILE_MARKUP: HOSTILE_MARKUP})
    )
    assert rejected["status"] == "rejected"
    listed = target.owner.get("/admin/rejected-events").text
    number = listed.partition("/admin/rejected-events/")[2].partition('"')[0]
    return ["rejected-events", f"rejected-events/{number}"]


def plant_in_rejected_bytes(target: AttackTarget) -> list[str]:
    headers = {"Authorization": f"Bearer {target.secret_token}", "Content_Type": "application/json"}
    target.server.request("/events", "POST", b"\xff" + HOSTILE_MARKUP.encode(), **headers)
    return ["rejected-events"]


def plant_in_schema(target: AttackTarget) -> list[str]:
    text = json.dumps(
        {"description": HOSTILE_MARKUP, "properties": {HOSTILE_MARKUP: {"const": HOSTILE_MARKUP}}}
    )
    fields = {"app": "0", "category": HOSTILE_MARKUP, "name": HOSTILE_MARKUP, "schema": text}
    assert target.owner.post("/admin/schemas/edit", **fields, action="save").status == 303
    return [
        "schemas",
        with_query("schemas/edit", category=HOSTILE_MARKUP, name=HOSTILE_MARKUP),
        "audit",
    ]


def plant_in_upload(target: AttackTarget) -> list[str]:
    content = (
        f"click_id,banner_id,campaign_id\r\n{HOSTILE_MARKUP.replace(',', '')},1,1\r\n".encode()
    )
    files = [
        ("1/clicks_1.csv", content),
        (HOSTILE_FILE_NAME, b"x"),
        (f"{HOSTILE_MARKUP.replace(chr(34), '')}.csv", b"x"),
    ]
    page = target.wait_for_upload(target.upload(*files))
    assert_inert(page.text, expected_text=HOSTILE_FILE_NAME)
    number = page.text.partition("/admin/imports/")[2].partition('"')[0]
    return [f"imports/{number}"] if number.isdigit() else []


def plant_in_host(target: AttackTarget) -> list[str]:
    response = target.owner.post(f"/admin/apps/{target.app_id}", hosts=HOSTILE_MARKUP)
    assert_inert(response.text, expected_text=None)
    return []


PLANTS: list[Callable[[AttackTarget], list[str]]] = [
    plant_in_app,
    plant_in_story,
    plant_in_event,
    plant_in_rejected_event,
    plant_in_rejected_bytes,
    plant_in_schema,
    plant_in_upload,
    plant_in_host,
]
# Pages that repeat parts of their URL.
REFLECTING_PATHS = [
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


def assert_inert(page: str, expected_text: str | None = SCRIPT_MARKER) -> None:
    """Check that nothing in a page is executable, and that it contains the planted text."""
    markup = ExecutableMarkup(page)
    assert markup.executable == []
    assert expected_text is None or any(expected_text in each for each in markup.text)


@pytest.fixture(scope="module")
def planted(target) -> dict[str, list[str]]:
    """Plant markup everywhere; return the pages that show it, by place."""
    return {plant.__name__: plant(target) for plant in PLANTS}


@pytest.mark.parametrize("field", [plant.__name__ for plant in PLANTS])
def test_stored_markup_is_text_in_every_page(target, planted, field):
    for path in planted[field]:
        response = target.owner.get(f"/admin/{path}")
        assert response.status == 200, path
        assert_inert(response.text, expected_text=SCRIPT_MARKER if field != "in_upload" else None)


@pytest.mark.parametrize("path", REFLECTING_PATHS)
def test_markup_in_url_is_text(target, path):
    for admin in (target.owner, AdminBrowser(target.server)):
        response = admin.get(f"/admin/{path.replace('{}', quote(HOSTILE_MARKUP, safe=''))}")
        assert_inert(response.text, expected_text=None)


@pytest.mark.parametrize(
    "path", ["/campaigns/{}", "/banners/{}", "/live/{}", "/static/{}", "/api/v1/stories/{}", "/{}"]
)
def test_errors_contain_no_markup(target, path):
    response = target.server.request(
        path.format(quote(HOSTILE_MARKUP, safe="")), Accept="text/html"
    )
    if response.headers["Content-Type"].startswith("text/html"):
        assert_inert(response.text, expected_text=None)
    else:
        assert response.headers["Content-Type"].startswith("application/problem+json")
        assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", [HOSTILE_MARKUP, "<b>", "a b", '"', "a'b", "x" * 101, ""])
def test_user_name_with_markup_is_rejected(target, name):
    response = target.owner.post("/admin/users", name=name)
    assert response.status == 422
    assert_inert(response.text, expected_text=None)


@pytest.fixture(scope="module")
def upstream():
    """An upstream server whose page titles and paths are markup."""
    server = FaultyUpstream()
    server.mode = "pages"
    server.pages_json = json.dumps(
        [{"i": HOSTILE_MARKUP, "path": f"/{HOSTILE_MARKUP}", "visitors": 40},
         {"i": "y", "path": "javascript:alert(1)", "visitors": 30}]
    ).encode()  # fmt: skip
    yield server
    server.close()


@pytest.fixture(scope="module")
def following_server(upstream, tmp_path_factory):
    """A server that reads active visitors from the hostile upstream."""
    server = MarqueeProcess(
        tmp_path_factory.mktemp("following") / "data", "--sample", "--upstream", upstream.address
    )
    admin = AdminBrowser(server)
    wait_for(lambda: "password" in "".join(server.stdout_lines))
    admin.log_in(*wait_for(lambda: owner_credentials(server)))
    url = with_query("/live/www.example.com", apikey="a key")
    wait_for(lambda: "40" in server.request(url).text)
    yield server, admin, url
    assert server.stop() == 0


def test_upstream_titles_and_paths_are_text(following_server):
    server, admin, url = following_server
    assert_inert(server.request(url).text)
    assert_inert(admin.get("/admin/audience").text)
    assert_inert(admin.get("/admin/").text, expected_text=None)


def does_script_run(browser, url: str) -> bool:
    """Return whether a script runs, or only the Content-Security-Policy prevents it."""
    browser.get_log("browser")  # discard earlier messages
    browser.get(url)
    browser.implicitly_wait(0)
    wait_for(lambda: browser.execute_script("return document.readyState") == "complete")
    refused = [each for each in browser.get_log("browser") if "Security Policy" in each["message"]]
    return bool(browser.execute_script("return window.ran") or refused)


def log_in_browser(driver, server, cookie: str) -> str:
    """Give the browser an owner's session; return the root URL."""
    root = f"http://127.0.0.1:{server.port}"
    driver.get(f"{root}/admin/login")
    name, _, value = cookie.partition("=")
    driver.add_cookie({"name": name, "value": value, "path": "/admin"})
    return root


def test_stored_markup_does_not_run_in_browser(driver, target, planted):
    root = log_in_browser(driver, target.server, target.owner.cookie)
    for pages in planted.values():
        for path in pages[:4]:
            assert not does_script_run(driver, f"{root}/admin/{path}"), path
            assert driver.current_url.startswith(f"{root}/admin/{path[:4]}")


def test_upstream_markup_does_not_run_in_browser(driver, following_server):
    server, admin, url = following_server
    root = log_in_browser(driver, server, admin.cookie)
    # The stream sends markup to the page too.
    assert not does_script_run(driver, root + url)
    wait_for(lambda: "live" in driver.find_element("css selector", "[data-status]").text)
    assert not driver.execute_script("return window.ran")
    assert not does_script_run(driver, f"{root}/admin/audience")


SVG = f"""<svg xmlns="http://www.w3.org/2000/svg" onload="{SCRIPT_MARKER}">
<script>{SCRIPT_MARKER}</script>
<foreignObject><body xmlns="http://www.w3.org/1999/xhtml">
<img src="x" onerror="{SCRIPT_MARKER}"/></body>
</foreignObject><a href="javascript:{SCRIPT_MARKER}"><text y="20">x</text></a></svg>"""


def test_svg_image_with_script_does_not_run(driver, target):
    target.wait_for_upload(target.upload(("images/image_1.svg", SVG.encode())))
    response = target.server.request("/banners/1")
    assert response.headers["Content-Type"] == "image/svg+xml" and SCRIPT_MARKER in response.text
    policy = response.headers["Content-Security-Policy"]
    assert "sandbox" in policy and "default-src 'none'" in policy and "script" not in policy
    driver.get(f"http://127.0.0.1:{target.server.port}/banners/1")
    assert not driver.execute_script("return window.ran")


def test_without_the_guards_it_runs(driver, unprotected):
    pages = plant_in_event(unprotected)
    text = unprotected.owner.get(f"/admin/{pages[0]}").text
    assert ExecutableMarkup(text).executable
    root = log_in_browser(driver, unprotected.server, unprotected.owner.cookie)
    assert does_script_run(driver, f"{root}/admin/{pages[0]}")
    assert driver.execute_script("return window.ran") == 1
    unprotected.wait_for_upload(unprotected.upload(("images/image_1.svg", SVG.encode())))
    assert does_script_run(driver, f"{root}/banners/1")
