"""Someone at the owner's pages: a browser's part of forms and cookies, by hand."""

import re
from html import unescape
from urllib.parse import urlencode

FORM = {"Content_Type": "application/x-www-form-urlencoded", "Sec_Fetch_Site": "same-origin"}


class Visitor:
    """Holds the cookie; follows no redirect."""

    def __init__(self, server) -> None:
        self.server = server
        self.cookie = ""

    def get(self, path: str, **headers: str):
        return self.keep(self.server.ask(path, **self.named(headers)))

    def post(self, path: str, headers: dict[str, str] | None = None, **fields: str):
        said = self.named(FORM if headers is None else headers)
        return self.keep(self.server.ask(path, "POST", urlencode(fields).encode(), **said))

    def named(self, headers: dict[str, str]) -> dict[str, str]:
        return {**headers, **({"Cookie": self.cookie} if self.cookie else {})}

    def keep(self, answer):
        for told in answer.headers.get_all("Set-Cookie") or []:
            value = told.split(";")[0]
            self.cookie = "" if value.endswith("=") or value.endswith('""') else value
        return answer

    def log_in(self, name: str, password: str):
        answer = self.post("/admin/login", name=name, password=password)
        assert answer.status == 303, answer.text
        return self


def owner_of(server) -> tuple[str, str]:
    """Name and password of the sample's owner, as the terminal told them."""
    found = re.search(r"name (\S+)  password (\S+)", "".join(server.told))
    assert found, server.told
    return found[1], found[2]


def words(answer) -> str:
    """What a page says, without its tags."""
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text)))
