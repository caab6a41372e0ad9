"""A client of the admin pages that keeps cookies and submits forms."""

import re
from html import unescape
from typing import Any, Self
from urllib.parse import urlencode

from tests.support.server_process import MarqueeProcess, ServerResponse

FORM_HEADERS = {
    "Content_Type": "application/x-www-form-urlencoded",
    "Sec_Fetch_Site": "same-origin",
}


class AdminBrowser:
    """Keeps the session cookie; follows no redirects.

    `server` is a `MarqueeProcess` or another object with its `request` method.
    """

    def __init__(self, server: Any) -> None:
        self.server = server
        self.cookie = ""

    def get(self, path: str, **headers: str) -> ServerResponse:
        return self._store_cookies(self.server.request(path, **self.with_cookie(headers)))

    def post(
        self, path: str, headers: dict[str, str] | None = None, /, **fields: str
    ) -> ServerResponse:
        """Submit a form; `headers` replace those of a form of the same origin."""
        sent_headers = self.with_cookie(FORM_HEADERS if headers is None else headers)
        body = urlencode(fields).encode()
        return self._store_cookies(self.server.request(path, "POST", body, **sent_headers))

    def with_cookie(self, headers: dict[str, str]) -> dict[str, str]:
        return {**headers, **({"Cookie": self.cookie} if self.cookie else {})}

    def _store_cookies(self, response: ServerResponse) -> ServerResponse:
        for header in response.headers.get_all("Set-Cookie") or []:
            cookie = header.split(";")[0]
            is_deleted = cookie.endswith("=") or cookie.endswith('""')
            self.cookie = "" if is_deleted else cookie
        return response

    def log_in(self, name: str, password: str) -> Self:
        response = self.post("/admin/login", name=name, password=password)
        assert response.status == 303, response.text
        return self


def owner_credentials(server: MarqueeProcess) -> tuple[str, str]:
    """Return name and password of the sample's owner, as printed by the server."""
    found = re.search(r"name (\S+)  password (\S+)", "".join(server.stdout_lines))
    assert found, server.stdout_lines
    return found[1], found[2]


def page_text(page: ServerResponse) -> str:
    """Return the text of a page without tags, with single spaces."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text)))


def find_text(pattern: str, page: ServerResponse) -> str:
    """Return the first group of a pattern that the page must match."""
    found = re.search(pattern, page.text)
    assert found, f"{pattern} is not in {page_text(page)}"
    return found[1]
