"""The beacon script in a real browser, over the life cycle of a page."""

import json
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from selenium.webdriver.common.by import By

from tests.support.audience.audience_site import AudienceSite, wait_for
from tests.support.server_process import MarqueeProcess
from tests.support.web.beacon_site import PAGE, BeaconSite

EMOJI = "\U0001f600"


class Pages:
    """A site with the beacon; tests distinguish their visits by path."""

    def __init__(self, browser, site: AudienceSite, shop: BeaconSite) -> None:
        self.browser, self.site, self.shop = browser, site, shop
        self.beacon = f"http://127.0.0.1:{site.server.port}/static/beacon.js"

    def page(self, title: str = "A page", more: str = "", before: str = "") -> None:
        """Serve this page at every path."""
        html = PAGE.format(title=title, beacon=self.beacon, token=self.site.public_token)
        self.shop.page = (before + html + more).encode()

    def go(self, path: str) -> None:
        self.browser.get(f"http://{self.shop.host}{path}")

    def run(self, script: str):
        return self.browser.execute_script(script)

    def first(self, source: str) -> str:
        """Run a script before any script of a page; return its id for `never`."""
        command = "Page.addScriptToEvaluateOnNewDocument"
        return self.browser.execute_cdp_cmd(command, {"source": source})["identifier"]

    def never(self, number: str) -> None:
        command = "Page.removeScriptToEvaluateOnNewDocument"
        self.browser.execute_cdp_cmd(command, {"identifier": number})

    def views(self, path: str) -> list[dict]:
        """Return the stored pageviews with this path prefix, oldest first."""
        found = self.site.server.request(
            "/events?source=pageview&order=asc&limit=1000",
            Authorization=f"Bearer {self.site.secret_token}",
        ).json()["events"]
        return [
            {**each["data"], "session": each["session_id"]}
            for each in found
            if each["data"]["path"].startswith(path)
        ]

    def paths(self, path: str, count: int) -> list[str]:
        """Wait for `count` pageviews and return their paths."""
        wait_for(lambda: len(self.views(path)) >= count)
        return [each["path"] for each in self.views(path)]

    def none_but(self, path: str, count: int) -> None:
        """Assert that there are `count` pageviews, also after one elsewhere has arrived."""
        self.page()
        self.go("/mark" + path)
        self.paths("/mark" + path, 1)
        assert len(self.views(path)) == count


@pytest.fixture(scope="module")
def pages(browser, run_command, tmp_path_factory) -> Iterator[Pages]:
    shop = BeaconSite()
    server = MarqueeProcess(tmp_path_factory.mktemp("beacon") / "data")
    try:
        yield Pages(browser, AudienceSite(run_command, server, host=shop.host), shop)
        browser.get("about:blank")
        assert server.stop() == 0, server.log
        assert "Traceback" not in server.log
    finally:
        shop.close()


@pytest.mark.parametrize(
    ("title", "stored"),
    [
        ("x" * 299 + EMOJI + " and more", "x" * 299 + EMOJI),
        ("x" * 300 + EMOJI, "x" * 300),
        (EMOJI * 400, EMOJI * 300),
        ("\\ud83d half", " half"),
    ],
    ids=range(4),
)
def test_a_long_title_is_cut_between_characters(pages, title, stored):
    path = f"/title/{len(stored)}/{len(title)}"
    html = f'<!DOCTYPE html><meta charset="utf-8"><script>document.title = "{title}"</script>'
    html += f'<script src="{pages.beacon}" data-token="{pages.site.public_token}" defer></script>'
    pages.shop.page = html.encode()
    pages.go(path)
    pages.paths(path, 1)
    assert pages.views(path)[0].get("title") == stored


def test_each_page_of_a_single_page_application_is_a_pageview(pages):
    pages.page("Start")
    pages.go("/spa/start")
    pages.paths("/spa", 1)
    # Frameworks set the title after the URL.
    pages.run("history.pushState({}, '', '/spa/a'); setTimeout(() => document.title = 'A', 50)")
    pages.paths("/spa", 2)
    pages.run("history.replaceState({}, '', '/spa/b'); document.title = 'B'")
    pages.paths("/spa", 3)
    # Another query, another fragment or the same URL is no other page.
    pages.run("history.pushState({}, '', '/spa/b?x=1'); history.replaceState({}, '', '/spa/b#y')")
    pages.run("history.replaceState({}, '')")
    # The page is left at once.
    pages.run(
        "for (const it of 'cde') { history.pushState({}, '', '/spa/' + it); document.title = it; }"
    )
    pages.paths("/spa", 6)
    pages.run("history.back()")
    assert pages.paths("/spa", 7) == [f"/spa/{it}" for it in ("start", *"abcded")]
    titles = [each["title"] for each in pages.views("/spa")]
    assert titles[:6] == ["Start", "A", "B", "c", "d", "e"]
    assert len({each["session"] for each in pages.views("/spa")}) == 1


def test_replace_state_with_the_same_url_sends_nothing(pages):
    """Frameworks do this to keep the scroll position, or right after `pushState`."""
    pages.page("Start")
    number = pages.first(
        "window.sent = []; const send = navigator.sendBeacon.bind(navigator);"
        "navigator.sendBeacon = (url, body) => sent.push(JSON.parse(body)) && send(url, body)"
    )
    try:
        pages.go("/same/a")
        pages.paths("/same", 1)
        pages.run("for (let i = 0; i < 50; i++) history.replaceState({i}, '', '?q=' + i)")
        pages.run(
            "history.pushState({}, '', '/same/b'); history.replaceState({}, '', '/same/b');"
            "document.dispatchEvent(new Event('visibilitychange')); document.title = 'B'"
        )
        pages.paths("/same", 2)
        assert [(it["path"], it.get("title")) for it in pages.views("/same")] == [
            ("/same/a", "Start"),
            ("/same/b", "B"),
        ]
        assert [it["kind"] for it in pages.run("return sent")] == ["view", "view"]
    finally:
        pages.never(number)


def test_a_page_left_before_its_title_is_a_pageview(pages):
    pages.page()
    pages.go("/left/a")
    pages.paths("/left", 1)
    pages.run("history.pushState({}, '', '/left/b'); location.href = '/left/c'")
    assert sorted(pages.paths("/left", 3)) == ["/left/a", "/left/b", "/left/c"]


def test_hash_routes_are_pages_with_data_hash(pages):
    pages.page()
    pages.go("/hash/no")
    pages.run("location.hash = '#/a'")
    pages.none_but("/hash/no", 1)
    attributes = f'src="{pages.beacon}" data-token="{pages.site.public_token}" data-hash defer'
    tag = f"<script {attributes}></script>"
    pages.shop.page = f"<!DOCTYPE html><title>x</title>{tag}".encode()
    pages.go("/hash/yes")
    pages.paths("/hash/yes", 1)
    pages.run("location.hash = '#/a'")
    assert pages.paths("/hash/yes", 2) == ["/hash/yes", "/hash/yes#/a"]


def test_a_page_with_the_script_twice_is_one_pageview(pages):
    tag = f'<script src="{pages.beacon}" data-token="{pages.site.public_token}" defer></script>'
    again = (
        "<script>addEventListener('load', () => {const s = document.createElement('script');"
        f"s.src = '{pages.beacon}'; s.dataset.token = '{pages.site.public_token}';"
        "document.head.append(s)})</script>"
    )
    pages.page(more=tag + again)
    pages.go("/twice")
    pages.paths("/twice", 1)
    pages.run("history.pushState({}, '', '/twice/a')")
    pages.paths("/twice/a", 1)
    pages.none_but("/twice", 2)


def test_an_asynchronous_script_reports(pages):
    inline = f'<script src="{pages.beacon}" async data-token="{pages.site.public_token}"></script>'
    pages.shop.page = f"<!DOCTYPE html><title>x</title>{inline}".encode()
    pages.go("/async")
    assert pages.paths("/async", 1) == ["/async"]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        (
            "storage",
            "Object.defineProperty(window, 'sessionStorage', {get() { throw new Error('no') }});"
            "Object.defineProperty(window, 'localStorage', {get() { throw new Error('no') }})",
        ),
        ("null", "Object.defineProperty(window, 'sessionStorage', {value: null})"),
        ("full", "Storage.prototype.setItem = () => { throw new Error('full') }"),
        ("missing", "Object.defineProperty(navigator, 'sendBeacon', {value: undefined})"),
        ("refused", "Object.defineProperty(navigator, 'sendBeacon', {value: () => false})"),
    ],
)
def test_a_browser_without_a_feature_is_counted(pages, name, source):
    pages.page()
    number = pages.first(source)
    try:
        pages.go(f"/lacks/{name}")
        pages.paths(f"/lacks/{name}", 1)
        (view,) = pages.views(f"/lacks/{name}")
        assert 20 <= len(view["session"]) <= 40
        assert pages.browser.get_log("browser") == []
    finally:
        pages.never(number)


HIDDEN = "Object.defineProperty(document, '%s', {value: %s, configurable: true})"


@pytest.mark.parametrize(
    ("name", "event"), [("hidden", "visibilitychange"), ("prerendering", "prerenderingchange")]
)
def test_a_page_counts_when_it_is_first_visible(pages, name, event):
    pages.page()
    number = pages.first(HIDDEN % (name, "true"))
    path = f"/unseen/{name}"
    try:
        pages.go(path)
        pages.run("history.pushState({}, '', location.pathname + '/a')")
        time.sleep(1)  # twice the time that a pageview waits for its title
        assert pages.views(path) == []
        pages.run(HIDDEN % (name, "false") + f";document.dispatchEvent(new Event('{event}'))")
        assert pages.paths(path, 1) == [f"{path}/a"]
    finally:
        pages.never(number)


def test_a_prerendered_page_counts_when_it_is_shown(pages):
    rules = json.dumps({"prerender": [{"urls": ["/prerender/b"], "eagerness": "immediate"}]})
    pages.page(more=f'<script type="speculationrules">{rules}</script><a href="/prerender/b">b</a>')
    pages.go("/prerender/a")
    pages.paths("/prerender", 1)
    asked = wait_for(lambda: [it for it in pages.shop.requests if it[0] == "/prerender/b"])
    assert "prefetch" in asked[0][1]
    pages.none_but("/prerender", 1)
    pages.page(more=f'<script type="speculationrules">{rules}</script><a href="/prerender/b">b</a>')
    pages.go("/prerender/a")
    pages.browser.find_element(By.CSS_SELECTOR, "a").click()
    wait_for(lambda: urlsplit(pages.browser.current_url).path == "/prerender/b")
    views = pages.paths("/prerender", 3)
    assert views == ["/prerender/a", "/prerender/a", "/prerender/b"]


def test_going_back_is_another_pageview(pages):
    pages.page()
    for path in ("/back/a", "/back/b"):
        pages.go(path)
        pages.paths(path, 1)
    pages.browser.back()
    assert pages.paths("/back", 3) == ["/back/a", "/back/b", "/back/a"]
    # As if the browser restored the page from its back/forward cache.
    pages.run("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true}))")
    assert pages.paths("/back", 4)[3] == "/back/a"


def test_a_document_without_a_host_is_not_reported(pages):
    inner = f"<script src='{pages.beacon}' data-token='{pages.site.public_token}'></script>"
    pages.page(more=f'<iframe srcdoc="{inner}"></iframe>')
    pages.go("/frames")
    pages.paths("/frames", 1)
    pages.none_but("/frames", 1)
    assert pages.browser.get_log("browser") == []


def test_send_beacon_may_send_json(pages):
    pages.page()
    pages.go("/json")
    pages.paths("/json", 1)
    url = f"http://127.0.0.1:{pages.site.server.port}/api/v1/beacon/{pages.site.public_token}"
    body = {"kind": "view", "session": "s", "host": pages.shop.host, "path": "/json/blob"}
    pages.run(
        f"navigator.sendBeacon({json.dumps(url)},"
        f" new Blob([{json.dumps(json.dumps(body))}], {{type: 'application/json'}}))"
    )
    assert pages.paths("/json/blob", 1) == ["/json/blob"]
