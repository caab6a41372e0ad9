"""Password fields hide the input and work with password managers."""

import re

import pytest

from tests.support.audience.audience_site import wait_for
from tests.support.server_process import MarqueeProcess
from tests.support.web.admin_session import AdminBrowser

INPUT = re.compile(r"<input[^>]*>")


def password_inputs(text: str) -> list[str]:
    return [each for each in INPUT.findall(text) if re.search(r"password", each)]


@pytest.fixture(scope="module")
def server_without_users(tmp_path_factory):
    """Return a server without users and its set-up link."""
    server = MarqueeProcess(tmp_path_factory.mktemp("nobody") / "data")
    yield (
        server,
        wait_for(lambda: re.search(r"/admin/setup\?token=\S+", "".join(server.stdout_lines)))[0],
    )
    server.stop()


def test_password_fields_hide_input_and_allow_managers(target, server_without_users):
    server, link = server_without_users
    pages = {
        "login": (AdminBrowser(target.server).get("/admin/login"), 1, "current-password"),
        "account": (target.owner.get("/admin/account"), 3, "new-password"),
        "setup": (AdminBrowser(server).get(link), 2, "new-password"),
    }
    for page, count, hint in pages.values():
        found = password_inputs(page.text)
        assert len(found) == count
        for field in found:
            assert 'type="password"' in field
            assert re.search(r'autocomplete="(current|new)-password"', field)
            assert not re.search(r"onpaste|readonly|maxlength|value=", field)
        assert any(hint in field for field in found)
        # Password managers need the user name.
        assert 'autocomplete="username"' in page.text
    # No script interferes with pasting.
    script = target.server.request("/static/admin.js").text
    assert "paste" not in script and "password" not in script


def test_typed_password_is_not_sent_back(target):
    owner = target.owner
    typed = "typed and never seen again"
    for path, fields in (
        ("/admin/login", {"name": "nobody-at-all", "password": typed}),
        ("/admin/account", {"old": typed, "new": typed + "x", "again": typed}),
    ):
        response = owner.post(path, **fields)
        assert response.status in (422, 429)
        assert typed not in response.text
