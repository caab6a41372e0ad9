"""Clickjacking: no page of ours can be put in a frame of another site."""

import pytest

from tests.support.audience.audience_site import wait_for
from tests.support.web.admin_session import AdminBrowser
from tests.support.web.attack_target import AttackTarget, OtherSite
from tests.support.web.route_table import ROUTE_CASES

PAGES = [row.path for row in ROUTE_CASES if row.method == "GET" and row.path.startswith("/admin")
         and "live" not in row.path]  # fmt: skip
OTHERS = ["/", "/campaigns/1/", "/campaigns/999/", "/api/v1/docs/", "/live/x?apikey=x", "/nowhere"]


@pytest.mark.parametrize("path", [*PAGES, *OTHERS])
def test_every_page_says_that_it_is_no_frame(target, path):
    for visitor in (target.owner, AdminBrowser(target.server)):
        response = visitor.get(path)
        assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"


def framed(driver, target: AttackTarget, path: str) -> bool:
    """Whether a browser shows the page within another site's."""
    framed = f"http://127.0.0.1:{target.server.port}{path}"
    site = OtherSite(f'<h1>Win!</h1><iframe src="{framed}" width=600 height=400></iframe>')
    try:
        driver.get(f"http://localhost:{site.server_port}/")
        wait_for(lambda: driver.execute_script("return document.readyState") == "complete")
        driver.switch_to.frame(0)
        return "Marquee" in driver.page_source or "campaign" in driver.page_source.lower()
    finally:
        driver.switch_to.default_content()
        site.stop()


@pytest.mark.parametrize("path", ["/admin/login", "/campaigns/1/"])
def test_a_browser_shows_it_in_no_frame(driver, target, path):
    assert not framed(driver, target, path)


def test_without_the_guard_it_does(driver, weakened):
    assert framed(driver, weakened, "/admin/login")
