"""Clickjacking: no page can be shown in a frame of another site."""

import pytest

from tests.support.audience.audience_site import wait_for
from tests.support.web.admin_session import AdminBrowser
from tests.support.web.attack_target import AttackTarget, OtherSite
from tests.support.web.route_table import ROUTE_CASES

PAGES = [row.path for row in ROUTE_CASES if row.method == "GET" and row.path.startswith("/admin")
         and "live" not in row.path]  # fmt: skip
PUBLIC_PAGES = [
    "/",
    "/campaigns/1/",
    "/campaigns/999/",
    "/api/v1/docs/",
    "/live/x?apikey=x",
    "/nowhere",
]


@pytest.mark.parametrize("path", [*PAGES, *PUBLIC_PAGES])
def test_every_page_forbids_framing(target, path):
    for browser in (target.owner, AdminBrowser(target.server)):
        response = browser.get(path)
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"


def is_shown_in_frame(driver, target: AttackTarget, path: str) -> bool:
    """Return whether a browser shows the page in a frame of another site."""
    url = f"http://127.0.0.1:{target.server.port}{path}"
    site = OtherSite(f'<h1>Win!</h1><iframe src="{url}" width=600 height=400></iframe>')
    try:
        driver.get(f"http://localhost:{site.server_port}/")
        wait_for(lambda: driver.execute_script("return document.readyState") == "complete")
        driver.switch_to.frame(0)
        return "Marquee" in driver.page_source or "campaign" in driver.page_source.lower()
    finally:
        driver.switch_to.default_content()
        site.stop()


@pytest.mark.parametrize("path", ["/admin/login", "/campaigns/1/"])
def test_browser_refuses_to_frame_page(driver, target, path):
    assert not is_shown_in_frame(driver, target, path)


def test_unprotected_server_can_be_framed(driver, unprotected):
    assert is_shown_in_frame(driver, unprotected, "/admin/login")
