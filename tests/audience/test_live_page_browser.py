"""The beacon and the live page in a real browser."""

import time
from collections.abc import Iterator

import pytest
from selenium.webdriver.common.by import By

from tests.support.audience.audience_site import AudienceSite, wait_for
from tests.support.web.beacon_site import PAGE, BeaconSite


@pytest.fixture
def shop() -> Iterator[BeaconSite]:
    opened = BeaconSite()
    yield opened
    opened.close()


@pytest.fixture
def site(run_command, start_server, shop) -> AudienceSite:
    here = AudienceSite(run_command, start_server("--reading-seconds", "0.5"), host=shop.host)
    address = f"http://127.0.0.1:{here.server.port}/static/beacon.js"
    shop.page = PAGE.format(title="A page", beacon=address, token=here.public_token).encode()
    return here


def events(site: AudienceSite) -> list[dict]:
    found = site.server.request("/events", Authorization=f"Bearer {site.secret_token}").json()[
        "events"
    ]
    return [(each["source"], each["session_id"], each["data"]) for each in found]


def test_the_beacon_reports_its_page_without_a_cookie(browser, site, shop):
    browser.get(f"http://{shop.host}/a?query=secret#part")
    pages = wait_for(lambda: site.get("/live/toppages/").json())
    assert pages == [{"i": "A page", "path": "/a", "visitors": 1}]
    browser.get(f"http://{shop.host}/b")
    wait_for(lambda: len(events(site)) == 2)
    first, second = events(site)
    assert first[0] == "pageview"
    assert first[2] == {"host": shop.host, "path": "/a", "title": "A page"}
    assert second[2]["path"] == "/b"
    assert first[1] == second[1]  # one session
    assert 20 <= len(first[1]) <= 40
    assert browser.get_cookies() == []
    assert browser.get_log("browser") == []
    # It sends a heartbeat without another pageview, and a pageview for a history change.
    browser.execute_script("document.dispatchEvent(new Event('visibilitychange'))")
    browser.execute_script("history.pushState({}, '', '/c'); dispatchEvent(new Event('popstate'))")
    wait_for(lambda: len(events(site)) == 3)
    assert events(site)[2][2]["path"] == "/c"


@pytest.mark.parametrize(
    "wish", ["navigator, 'globalPrivacyControl'", "navigator, 'doNotTrack'", "window, 'doNotTrack'"]
)
def test_an_opted_out_visitor_is_not_counted(browser, site, shop, wish):
    source = f"Object.defineProperty({wish}, {{value: '1', configurable: true}})"
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    try:
        browser.get(f"http://{shop.host}/a")
        time.sleep(1)
        assert events(site) == []
        assert site.get("/live/toppages/").json() == []
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def rows(browser) -> dict[str, tuple[str, str]]:
    """Return the state and the visitors of each row."""
    return browser.execute_script(
        "return Object.fromEntries(Array.from(document.querySelectorAll('.rising tbody tr'),"
        " row => [row.querySelector('th').innerText.split(' ')[0],"
        " [row.className, row.querySelector('td').innerText]]))"
    )


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (360, "dark")])
def test_the_live_page_shows_a_rising_page(browser, site, width, scheme):
    browser.set_window_size(width, 800)
    feature = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
    site.add_visitors(20, "/steady")
    site.add_visitors(20, "/up")
    browser.get(f"http://127.0.0.1:{site.server.port}/live/{site.host}?apikey={site.public_token}")
    wait_for(lambda: rows(browser).get("/up") == ["steady", "20"])
    time.sleep(4)
    site.add_visitors(90, "/up")
    wait_for(lambda: rows(browser).get("/up") == ["rising", "90"])
    assert rows(browser)["/steady"] == ["steady", "20"]
    assert browser.find_element(By.CSS_SELECTOR, "[data-status]").text == "live"
    line = browser.find_element(By.CSS_SELECTOR, "tr.rising polyline")
    assert len(line.get_attribute("points").split()) > 5
    assert browser.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0
    assert browser.get_log("browser") == []  # neither errors nor breaches of the policy
    browser.get("about:blank")  # before the server ends, which would be an error


def test_the_live_page_works_without_scripts(browser, site):
    site.add_visitors(20, "/a")
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(
            f"http://127.0.0.1:{site.server.port}/live/{site.host}?apikey={site.public_token}"
        )
        row = browser.find_element(By.CSS_SELECTOR, ".rising tbody tr")
        assert {"/a", "20"} <= {*row.text.split()}
        refresh = browser.find_elements(By.CSS_SELECTOR, "meta[http-equiv=refresh]")
        assert len(refresh) == 1
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
