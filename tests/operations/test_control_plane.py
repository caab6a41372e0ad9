"""Handlers in the test's process, on Tornado's own HTTP server and an empty installation."""

import json

import pytest


@pytest.mark.gen_test(timeout=60)
async def test_readiness_reports_every_check_of_an_empty_installation(http_client, base_url):
    response = await http_client.fetch(base_url + "/readyz", raise_error=False)
    checks = json.loads(response.body)["checks"]
    assert (response.code, set(checks.values())) == (200, {True})


@pytest.mark.gen_test(timeout=60)
@pytest.mark.parametrize("path", ["/admin/", "/admin/apps", "/admin/events", "/admin/audit"])
async def test_an_admin_page_without_a_session_redirects_to_the_login(http_client, base_url, path):
    response = await http_client.fetch(base_url + path, follow_redirects=False, raise_error=False)
    assert response.code == 303
    assert response.headers["Location"].startswith("/admin/login")


@pytest.mark.gen_test(timeout=60)
async def test_the_login_page_is_not_cached(http_client, base_url):
    response = await http_client.fetch(base_url + "/admin/login")
    assert response.code == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert b'name="password"' in response.body


@pytest.mark.gen_test(timeout=60)
async def test_an_unknown_path_is_a_404_problem(http_client, base_url):
    response = await http_client.fetch(base_url + "/nowhere", raise_error=False)
    assert response.code == 404
    assert response.headers["Content-Type"].startswith("application/problem+json")
