"""Fields for passwords: what is typed is not seen, and a password manager may help."""

import re

import pytest

from tests.support.audience.audience_site import wait_for
from tests.support.server_process import MarqueeProcess
from tests.support.web.admin_session import AdminBrowser

FIELD = re.compile(r"<input[^>]*>")


def fields(text: str) -> list[str]:
    return [each for each in FIELD.findall(text) if re.search(r"password", each)]


@pytest.fixture(scope="module")
def nobody(tmp_path_factory):
    """A server without a user, with the link for the first one."""
    server = MarqueeProcess(tmp_path_factory.mktemp("nobody") / "data")
    yield (
        server,
        wait_for(lambda: re.search(r"/admin/setup\?token=\S+", "".join(server.stdout_lines)))[0],
    )
    server.stop()


def test_a_password_is_typed_unseen_and_may_be_pasted(target, nobody):
    server, link = nobody
    pages = {
        "login": (AdminBrowser(target.server).get("/admin/login"), 1, "current-password"),
        "account": (target.owner.get("/admin/account"), 3, "new-password"),
        "setup": (AdminBrowser(server).get(link), 2, "new-password"),
    }
    for page, count, hint in pages.values():
        found = fields(page.text)
        assert len(found) == count
        for field in found:
            assert 'type="password"' in field
            assert re.search(r'autocomplete="(current|new)-password"', field)
            assert not re.search(r"onpaste|readonly|maxlength|value=", field)
        assert any(hint in field for field in found)
        # A manager finds the name beside it.
        assert 'autocomplete="username"' in page.text
    # And no script has a say in it.
    script = target.server.request("/static/admin.js").text
    assert "paste" not in script and "password" not in script


def test_what_was_typed_does_not_come_back(target):
    owner = target.owner
    typed = "typed and never seen again"
    for path, said in (
        ("/admin/login", {"name": "nobody-at-all", "password": typed}),
        ("/admin/account", {"old": typed, "new": typed + "x", "again": typed}),
    ):
        response = owner.post(path, **said)
        assert response.status in (422, 429)
        assert typed not in response.text
