"""What is attacked: a real server with its owner at hand, and one whose guards are taken out."""

import io
import json
import re
import sys
import threading
import time
import zipfile
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.support import PROGRAMS
from tests.support.audience.audience_site import until
from tests.support.server_process import Running
from tests.support.web.admin_session import Visitor, owner_of, words

# What would be markup, an attribute's end, a template's code or an entity, if it were let.
RUN = "ran=1"
EVIL = f"<img src=x onerror={RUN}><script>{RUN}</script>\"'><b onclick={RUN}>&lt;{{{{7*7}}}}"
SESSION = "0d3f7a52-0000-4e4e-80b5-f1ffddc25423"


class Weakened(Running):
    """The server without its guards (`unprotected_server.py`): every attack must succeed here."""

    program = (sys.executable, str(PROGRAMS / "unprotected_server.py"))


class Target:
    """A server with the sample, its owner logged in, and an app with a token of each scope."""

    def __init__(self, kind: type, data: Path, *more: str, **environ: str) -> None:
        self.server = kind(data, "--sample", "--no-traffic", "--max-upload", "2000000", *more)
        until(lambda: "password" in "".join(self.server.told))
        time.sleep(0.1)
        self._session = Visitor(self.server).log_in(*owner_of(self.server)).cookie
        page = self.owner.post("/admin/apps", name="Shop", hosts="www.example.com")
        assert page.status == 200, words(page)
        self.app = re.search(r"/admin/apps/(\d+)", page.text)[1]
        self.token = re.search(r'id="token">([^<]+)<', page.text)[1]
        listed = self.owner.get(f"/admin/apps/{self.app}").text
        self.public = re.search(r"Public token</dt><dd><code>([^<]+)<", listed)[1]
        page = self.owner.post(f"/admin/apps/{self.app}/tokens", scopes="admin")
        self.admin = re.search(r'id="token">([^<]+)<', page.text)[1]

    @property
    def owner(self) -> Visitor:
        """A browser of the owner's, logged in."""
        visitor = Visitor(self.server)
        visitor.cookie = self._session
        return visitor

    def send(self, *events: dict[str, Any]) -> list[dict[str, Any]]:
        """What became of these events."""
        answer = self.call("/events", "POST", list(events))
        assert answer.status == 202, answer.text
        return answer.json()["results"]

    def call(self, path: str, method: str = "GET", body: Any = None, token: str = "") -> Any:
        """One call of the API with a token."""
        said = {"Authorization": f"Bearer {token or self.token}"}
        if body is not None:
            said["Content_Type"] = "application/json"
        sent = None if body is None else json.dumps(body).encode()
        return self.server.ask(path, method, sent, **said)

    def upload(self, *files: tuple[str, bytes]) -> Any:
        """What is answered to a form with these files."""
        parts = [
            f'--edge\r\nContent-Disposition: form-data; name="f"; filename="{name}"\r\n\r\n'.encode(
                "utf-8", "surrogateescape"
            )
            + content
            + b"\r\n"
            for name, content in files
        ]
        headers = self.owner.named(
            {"Content_Type": "multipart/form-data; boundary=edge", "Sec_Fetch_Site": "same-origin"}
        )
        content = b"".join(parts) + b"--edge--\r\n"
        return self.server.ask("/admin/campaigns/upload", "POST", content, **headers)

    def outcome(self, answer: Any) -> Any:
        """The page that tells what became of an upload, when that is known."""
        assert answer.status == 303, words(answer)
        return until(lambda: over(self.owner.get(answer.headers["Location"])), 30)

    def end(self) -> None:
        """Stop it; it must not have stumbled over anything."""
        status = self.server.stop()
        assert status == 0, self.server.log
        if not isinstance(self.server, Weakened):
            assert "Traceback" not in self.server.log, self.server.log


class Site(ThreadingHTTPServer):
    """Another site, with one page."""

    def __init__(self, page: str) -> None:
        self.page = page.encode()
        super().__init__(("127.0.0.1", 0), _Answering)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def end(self) -> None:
        """Close it."""
        self.shutdown()
        self.server_close()


class _Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Site)
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.server.page)

    def log_message(self, *_: object) -> None:
        pass


def over(page: Any) -> Any:
    return None if "data-reload-ms" in page.text else page


def event(**members: Any) -> dict[str, Any]:
    """A right event, but for these members."""
    return {
        "session_id": SESSION,
        "category": "attack",
        "name": "attack",
        "data": {},
        "timestamp": "2021-01-01 09:15:27",
        **members,
    }


def zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip of these files."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return made.getvalue()


def query(path: str, **words_: str) -> str:
    """An address with a query."""
    return f"{path}?{urlencode(words_)}"
