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
from tests.support.audience.audience_site import wait_for
from tests.support.server_process import MarqueeProcess
from tests.support.web.admin_session import AdminBrowser, owner_credentials, page_text

# What would be markup, an attribute's end, a template's code or an entity, if it were let.
SCRIPT_MARKER = "ran=1"
HOSTILE_MARKUP = (
    f"<img src=x onerror={SCRIPT_MARKER}><script>{SCRIPT_MARKER}</script>"
    f"\"'><b onclick={SCRIPT_MARKER}>&lt;{{{{7*7}}}}"
)
SESSION = "0d3f7a52-0000-4e4e-80b5-f1ffddc25423"


class UnprotectedProcess(MarqueeProcess):
    """The server without its guards (`unprotected_server.py`): every attack must succeed here."""

    program = (sys.executable, str(PROGRAMS / "unprotected_server.py"))


class AttackTarget:
    """A server with the sample, its owner logged in, and an app with a token of each scope."""

    def __init__(self, kind: type, data: Path, *more: str, **environ: str) -> None:
        self.server = kind(data, "--sample", "--no-traffic", "--max-upload", "2000000", *more)
        wait_for(lambda: "password" in "".join(self.server.stdout_lines))
        time.sleep(0.1)
        self._session = AdminBrowser(self.server).log_in(*owner_credentials(self.server)).cookie
        page = self.owner.post("/admin/apps", name="Shop", hosts="www.example.com")
        assert page.status == 200, page_text(page)
        self.app_id = re.search(r"/admin/apps/(\d+)", page.text)[1]
        self.secret_token = re.search(r'id="token">([^<]+)<', page.text)[1]
        listed = self.owner.get(f"/admin/apps/{self.app_id}").text
        self.public_token = re.search(r"Public token</dt><dd><code>([^<]+)<", listed)[1]
        page = self.owner.post(f"/admin/apps/{self.app_id}/tokens", scopes="admin")
        self.admin_token = re.search(r'id="token">([^<]+)<', page.text)[1]

    @property
    def owner(self) -> AdminBrowser:
        """A browser of the owner's, logged in."""
        visitor = AdminBrowser(self.server)
        visitor.cookie = self._session
        return visitor

    def send(self, *events: dict[str, Any]) -> list[dict[str, Any]]:
        """What became of these events."""
        answer = self.call("/events", "POST", list(events))
        assert answer.status == 202, answer.text
        return answer.json()["results"]

    def call(self, path: str, method: str = "GET", body: Any = None, token: str = "") -> Any:
        """One call of the API with a token."""
        said = {"Authorization": f"Bearer {token or self.secret_token}"}
        if body is not None:
            said["Content_Type"] = "application/json"
        sent = None if body is None else json.dumps(body).encode()
        return self.server.request(path, method, sent, **said)

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
        headers = self.owner.with_cookie(
            {"Content_Type": "multipart/form-data; boundary=edge", "Sec_Fetch_Site": "same-origin"}
        )
        content = b"".join(parts) + b"--edge--\r\n"
        return self.server.request("/admin/campaigns/upload", "POST", content, **headers)

    def wait_for_upload(self, answer: Any) -> Any:
        """The page that tells what became of an upload, when that is known."""
        assert answer.status == 303, page_text(answer)
        return wait_for(lambda: finished_upload(self.owner.get(answer.headers["Location"])), 30)

    def stop(self) -> None:
        """Stop it; it must not have stumbled over anything."""
        status = self.server.stop()
        assert status == 0, self.server.log
        if not isinstance(self.server, UnprotectedProcess):
            assert "Traceback" not in self.server.log, self.server.log


class OtherSite(ThreadingHTTPServer):
    """Another site, with one page."""

    def __init__(self, page: str) -> None:
        self.page = page.encode()
        super().__init__(("127.0.0.1", 0), _PageHandler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Close it."""
        self.shutdown()
        self.server_close()


class _PageHandler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, OtherSite)
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(self.server.page)

    def log_message(self, *_: object) -> None:
        pass


def finished_upload(page: Any) -> Any:
    return None if "data-reload-ms" in page.text else page


def attack_event(**members: Any) -> dict[str, Any]:
    """A right event, but for these members."""
    return {
        "session_id": SESSION,
        "category": "attack",
        "name": "attack",
        "data": {},
        "timestamp": "2021-01-01 09:15:27",
        **members,
    }


def zip_files(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A zip of these files."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return made.getvalue()


def with_query(path: str, **words_: str) -> str:
    """An address with a query."""
    return f"{path}?{urlencode(words_)}"
