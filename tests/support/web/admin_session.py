"""Someone at the owner's pages: a browser's part of forms and cookies, by hand."""

import re
from html import unescape
from urllib.parse import urlencode

FORM_HEADERS = {
    "Content_Type": "application/x-www-form-urlencoded",
    "Sec_Fetch_Site": "same-origin",
}


class AdminBrowser:
    """Holds the cookie; follows no redirect."""

    def __init__(self, server) -> None:
        self.server = server
        self.cookie = ""

    def get(self, path: str, **headers: str):
        return self._store_cookies(self.server.request(path, **self.with_cookie(headers)))

    def post(self, path: str, headers: dict[str, str] | None = None, **fields: str):
        said = self.with_cookie(FORM_HEADERS if headers is None else headers)
        return self._store_cookies(
            self.server.request(path, "POST", urlencode(fields).encode(), **said)
        )

    def with_cookie(self, headers: dict[str, str]) -> dict[str, str]:
        return {**headers, **({"Cookie": self.cookie} if self.cookie else {})}

    def _store_cookies(self, answer):
        for told in answer.headers.get_all("Set-Cookie") or []:
            value = told.split(";")[0]
            self.cookie = "" if value.endswith("=") or value.endswith('""') else value
        return answer

    def log_in(self, name: str, password: str):
        answer = self.post("/admin/login", name=name, password=password)
        assert answer.status == 303, answer.text
        return self


def owner_credentials(server) -> tuple[str, str]:
    """Name and password of the sample's owner, as the terminal told them."""
    found = re.search(r"name (\S+)  password (\S+)", "".join(server.stdout_lines))
    assert found, server.stdout_lines
    return found[1], found[2]


def page_text(answer) -> str:
    """What a page says, without its tags."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))
