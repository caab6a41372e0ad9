"""The campaign page in a real browser."""

import pytest
from selenium.webdriver.common.by import By

from tests.support.web.browser import contrast_ratio, luminance, requested_urls

WIDTHS = [(360, 740), (1280, 800)]


def shown(browser) -> str:
    return browser.find_element(By.CSS_SELECTOR, ".banner img").get_attribute("alt")


def test_the_page_loads_its_banner_and_no_other_host(browser, sample_server):
    root = f"http://127.0.0.1:{sample_server.port}/"
    requested_urls(browser)
    browser.get(f"{root}campaigns/1/")
    image = browser.find_element(By.CSS_SELECTOR, ".banner img")
    assert browser.execute_script("return arguments[0].naturalWidth", image) > 0
    assert browser.title == "Campaign 1"
    asked = requested_urls(browser)
    assert any("/banners/" in url for url in asked)
    assert all(url.startswith(root) for url in asked), asked
    assert browser.get_log("browser") == []  # neither errors nor breaches of the policy


def test_a_visitor_never_sees_the_same_banner_twice_in_a_row(browser, sample_server):
    browser.get(f"http://127.0.0.1:{sample_server.port}/campaigns/2/")
    last = shown(browser)
    for _ in range(15):
        browser.refresh()
        now = shown(browser)
        assert now != last
        last = now


@pytest.mark.parametrize("size", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", ["campaigns/1/", "campaigns/0/", ""])
def test_pages_fit_wide_and_narrow_screens_in_light_and_dark(
    browser, sample_server, size, scheme, path
):
    browser.set_window_size(*size)
    feature = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": feature})
    browser.get(f"http://127.0.0.1:{sample_server.port}/{path}")
    body = browser.find_element(By.TAG_NAME, "body")
    assert browser.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0
    ink, ground = (body.value_of_css_property(name) for name in ("color", "background-color"))
    assert contrast_ratio(ink, ground) >= 7
    assert (luminance(ground) < 0.2) == (scheme == "dark")


def test_the_banner_is_focusable_and_has_alternative_text(browser, sample_server):
    browser.get(f"http://127.0.0.1:{sample_server.port}/campaigns/1/")
    link = browser.find_element(By.CSS_SELECTOR, "a.banner")
    browser.execute_script("arguments[0].focus()", link)
    assert browser.switch_to.active_element == link
    assert link.find_element(By.TAG_NAME, "img").get_attribute("alt")
