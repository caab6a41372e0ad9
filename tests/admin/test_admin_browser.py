"""The owner's pages in a real browser: the whole way through, with scripts and without."""

import contextlib
import json
import re
import threading
import time
from pathlib import Path

import pytest
from selenium.common.exceptions import (
    StaleElementReferenceException,
    TimeoutException,
    WebDriverException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.support.events.hostile_bodies import event_body
from tests.support.web.admin_session import AdminBrowser, owner_credentials
from tests.support.web.admin_uploads import campaign_files
from tests.support.web.browser import contrast_ratio, requested_urls, start_chromium

PAGES = (
    "", "campaigns", "campaigns/1", "campaigns/1/preview", "campaigns/upload", "imports",
    "imports/1", "apps", "apps/1", "apps/1/revoke?token=1", "audience", "stories",
    "stories/edit", "stories/edit?id=1", "stories/1/remove", "events", "schemas", "schemas/edit",
    "schemas/edit?category=page+interaction&name=pageview", "rejected-events", "health", "users",
    "users/remove?name=x", "audit", "account", "sessions/erase?id=x",
)  # fmt: skip


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A browser with scripts off."""
    driver = start_chromium(
        tmp_path_factory.mktemp("plain"), "--blink-settings=scriptEnabled=false"
    )
    yield driver
    driver.quit()


class Person:
    """Does what one sees to do."""

    def __init__(self, browser, server) -> None:
        self.browser = browser
        self.root = f"http://127.0.0.1:{server.port}"

    def go(self, path: str) -> None:
        self.browser.get(self.root + path)

    def fill(self, **fields: str) -> None:
        for name, value in fields.items():
            field = self.one(f"main [name='{name}']:not([type=hidden])")
            if field.tag_name == "select":
                Select(field).select_by_visible_text(value)
            else:
                field.clear()
                field.send_keys(value)

    def press(self, words: str) -> None:
        # While they are looked through, another page may come.
        for _ in range(5):
            with contextlib.suppress(StaleElementReferenceException):
                for button in self.browser.find_elements(By.CSS_SELECTOR, "button, main a, nav a"):
                    if button.text.strip() == words and button.is_displayed():
                        button.click()
                        return
                break
        raise AssertionError(f"there is no {words!r}: {self.text}")

    def one(self, selector: str):
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    @property
    def text(self) -> str:
        return self.one("body").text

    def sees(self, words: str, seconds: float = 120) -> None:
        try:
            # While another page comes, there may be none.
            wait = WebDriverWait(self.browser, seconds, 0.05, [WebDriverException])
            wait.until(lambda _: words in self.text)
        except TimeoutException:
            raise AssertionError(f"no {words!r} in: {self.text}") from None

    def log_in(self, name: str, password: str) -> None:
        self.browser.get("about:blank")
        self.go("/admin/login")
        self.browser.delete_all_cookies()
        # Of what was before, a server that went away amid its charts may be told of here.
        self.browser.get_log("browser")
        requested_urls(self.browser)
        self.go("/admin/")
        self.fill(name=name, password=password)
        self.press("Log in")
        self.sees("Overview")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A campaign folder, some rows of which are wrong."""
    for name, content in campaign_files(711, bad_rows=2):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "mine"


def visit(server, stop: threading.Event, seen: list[int]) -> None:
    """A visitor of the pages that are served."""
    while not stop.is_set():
        seen.append(server.request("/campaigns/1/").status)


@pytest.mark.parametrize("scripts", [True, False])
def test_the_whole_way(browser, plain, start_server, folder, scripts):
    server = start_server("--sample")
    time.sleep(0.3)
    driver = browser if scripts else plain
    person = Person(driver, server)
    person.log_in(*owner_credentials(server))

    # A folder comes in while pages are being served.
    stop, seen = threading.Event(), []
    visitor = threading.Thread(target=visit, args=(server, stop, seen))
    visitor.start()
    person.press("Campaigns")
    person.press("Upload a campaign folder")
    person.one("[name=folder]").send_keys(str(folder))
    person.press("Upload and import")
    person.sees("Published: 62 rows stored, 0 duplicates, 8 rejected")
    person.sees("clicks_1.csv, line 7")
    stop.set()
    visitor.join()
    assert len(seen) > 3 and set(seen) == {200}
    person.press("Back to the campaigns")
    person.press("Campaign 711")
    ranked = [cell.text for cell in driver.find_elements(By.CSS_SELECTOR, "tbody th")]
    assert ranked == ["Banner 3", "Banner 2", "Banner 1", "Banner 4", "Banner 5"]
    assert server.request("/campaigns/711/").status == 200

    # An app, and an event by its token.
    person.press("Apps")
    person.fill(name="My shop", hosts="shop.example")
    person.press("Create app")
    token = person.one("#token").text
    key = {"Authorization": f"Bearer {token}", "Content_Type": "application/json"}
    sale = {"category": "shop", "name": "sale"}
    assert (
        server.request("/events", "POST", event_body(**sale, data={"price": 7}), **key).status
        == 202
    )
    person.press("Events")
    person.fill(category="shop", name="sale")
    person.press("Search")
    person.sees('{"price":7}')
    if scripts:
        assert "category=shop" in driver.current_url

    # A mistaken schema rejects an event; a replay stores it once the schema is corrected.
    person.press("Event schemas")
    person.press("New schema")
    person.fill(category="shop", name="sale", schema='{"required": ["cost"]}')
    person.press("Dry run on the newest 10,000 events")
    person.sees("This schema rejects 1 of the newest 1 event")
    person.press("Save schema")
    person.sees("The schema is saved and validates new events.")
    assert (
        server.request("/events", "POST", event_body(**sale, data={"price": 8}), **key).status
        == 422
    )
    person.press("Rejected events")
    person.sees("/data/cost is missing")
    person.press("Event schemas")
    person.press("shop / sale")
    person.fill(schema='{"required": ["price"]}')
    person.press("Save schema")
    person.press("Rejected events")
    person.press("Replay all")
    person.sees("1 event stored, 0 still invalid.")
    person.press("Events")
    person.fill(category="shop", name="sale")
    person.press("Search")
    person.sees('{"price":8}')

    # A chart moves.
    person.press("Overview")
    if scripts:
        # Asked for in one step, as it is drawn anew each second.
        line = "return document.querySelector('[data-card=pages] path.line')?.getAttribute('d')"
        before = driver.execute_script(line)
        for _ in range(50):
            server.request("/campaigns/1/")
        WebDriverWait(driver, 120, 0.1).until(lambda _: driver.execute_script(line) != before)
    assert person.one("[data-card=events] svg")

    cookie = driver.get_cookie("mq_owner")
    assert cookie["httpOnly"] and cookie["sameSite"] == "Lax" and cookie["path"] == "/admin"
    person.press("Log out")
    person.sees("Log in")
    dead = AdminBrowser(server)
    dead.cookie = f"mq_owner={cookie['value']}"
    assert dead.get("/admin/").status == 303
    person.go("/admin/apps")
    person.sees("Log in")

    asked = requested_urls(driver)
    assert asked and all(url.startswith(person.root) for url in asked), asked
    # Neither errors nor breaches of the policy; the logout says what it cleared.
    said = [each["message"] for each in driver.get_log("browser")]
    assert [each for each in said if "Cleared data types" not in each] == []


def test_progress_is_seen_while_a_folder_is_sent_and_read(browser, start_server, tmp_path):
    server = start_server("--sample")
    time.sleep(0.3)
    person = Person(browser, server)
    person.log_in(*owner_credentials(server))
    large = tmp_path / "mine" / "1" / "impressions_1.csv"
    large.parent.mkdir(parents=True)
    large.write_text("banner_id,campaign_id\n" + "".join(f"{n},{n % 90}\n" for n in range(250_000)))
    person.go("/admin/campaigns/upload")
    # Every change of a bar, on this page and the next, is kept.
    browser.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument",
        {"source": "addEventListener('DOMContentLoaded', () => setInterval(() => {"
         "const bar = document.querySelector('progress');"
         "if (bar) sessionStorage.seen = (sessionStorage.seen ?? '') + bar.value / bar.max + ' ';"
         "}, 20))"},
    )  # fmt: skip
    person.go("/admin/campaigns/upload")
    person.one("[name=folder]").send_keys(str(tmp_path / "mine"))
    person.press("Upload and import")
    person.sees("Published", 60)
    values = {float(each) for each in browser.execute_script("return sessionStorage.seen").split()}
    between = {value for value in values if 0 < value < 1}
    assert len(between) >= 2, values


def test_what_an_upload_lacks_is_told_beside_it(browser, sample_server):
    person = Person(browser, sample_server)
    time.sleep(0.3)
    person.log_in(*owner_credentials(sample_server))
    person.go("/admin/campaigns/upload")
    person.press("Upload and import")
    person.sees("No file was chosen.")
    assert person.one("main button").is_enabled()
    # The status of that answer is in the console, as it is of every one that is an error.
    told = [entry["message"] for entry in browser.get_log("browser")]
    assert [each for each in told if "422" not in each] == []


@pytest.mark.parametrize("size", [(390, 844), (1280, 800)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_reads_well_wide_and_narrow_in_light_and_dark(
    browser, sample_server, size, scheme
):
    person = Person(browser, sample_server)
    time.sleep(0.3)
    feature = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
    metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        person.log_in(*owner_credentials(sample_server))
        browser.get_log("browser")
        for path in PAGES:
            person.go(f"/admin/{path}")
            wide = browser.execute_script(
                "return document.documentElement.scrollWidth - innerWidth"
            )
            assert wide <= 0, path
            for colours in browser.execute_script(COLOURS):
                ink, ground, words, large = colours
                assert contrast_ratio(ink, ground) >= (3 if large else 4.5), (
                    path,
                    words,
                    ink,
                    ground,
                )
        assert browser.get_log("browser") == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


OVERFLOW = "return document.documentElement.scrollWidth - innerWidth"
# For each element with words of its own: its colour, that of the ground beneath, and the words.
COLOURS = """
const found = new Map();
for (const it of document.querySelectorAll("body *")) {
  const words = [...it.childNodes].filter((n) => n.nodeType === 3 && n.data.trim());
  if (!words.length || !it.checkVisibility() || it.closest("svg, option, .skip")) continue;
  let under = it;
  const ground = (e) => getComputedStyle(e).backgroundColor;
  while (under && /, 0\\)$|transparent/.test(ground(under))) under = under.parentElement;
  const style = getComputedStyle(it);
  const large = parseFloat(style.fontSize) >= 24;
  const key = [style.color, under ? ground(under) : "rgb(255, 255, 255)"];
  found.set(key.join(), [...key, words[0].data.trim().slice(0, 40), large]);
}
return [...found.values()];
"""


def test_all_can_be_reached_and_seen_by_keyboard(browser, sample_server):
    person = Person(browser, sample_server)
    time.sleep(0.3)
    person.log_in(*owner_credentials(sample_server))
    person.go("/admin/apps")
    reached = []
    for _ in range(60):
        browser.switch_to.active_element.send_keys("\ue004")
        here = browser.switch_to.active_element
        if here.tag_name == "body":
            break
        style = browser.execute_script("return getComputedStyle(arguments[0]).outlineStyle", here)
        assert style == "solid", here.get_attribute("outerHTML")
        reached.append(here.text or here.get_attribute("name"))
    assert reached[0] == "Skip to content"
    assert {"Overview", "Log out", "Sample app 1", "hosts", "Create app"} <= set(reached)


def test_the_menu_of_a_phone_opens_with_scripts_off(plain, sample_server):
    person = Person(plain, sample_server)
    time.sleep(0.3)
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": False}
    plain.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        person.log_in(*owner_credentials(sample_server))
        assert not person.one("#menu").is_displayed()
        person.press("Menu")
        assert person.one("#menu").is_displayed()
        person.press("Health")
        person.sees("The server is ready")
    finally:
        plain.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_page_and_all_that_it_needs_is_light(browser, sample_server):
    person = Person(browser, sample_server)
    time.sleep(0.3)
    person.log_in(*owner_credentials(sample_server))
    for path in ("", "campaigns", "events", "rejected-events", "health"):
        person.go(f"/admin/{path}")
        names = browser.execute_script(
            "return performance.getEntriesByType('resource').map((it) => it.name)"
        )
        weight = len(AdminBrowser(sample_server).get("/admin/login").body)
        visitor = AdminBrowser(sample_server)
        visitor.cookie = f"mq_owner={browser.get_cookie('mq_owner')['value']}"
        weight = len(visitor.get(f"/admin/{path}").body)
        for name in names:
            if re.search(r"\.(css|js|svg)\b", name):
                weight += len(sample_server.request(name.removeprefix(person.root)).body)
        assert weight < 60_000, (path, weight, json.dumps(names))
