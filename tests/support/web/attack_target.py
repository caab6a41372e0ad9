"""Targets of attacks: a real server with a logged-in owner, and one without its protections."""

import io
import json
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
from tests.support.server_process import MarqueeProcess, ServerResponse
from tests.support.web.admin_session import AdminBrowser, find_text, owner_credentials, page_text

# Runs SCRIPT_MARKER wherever a page inserts it without escaping; 7*7 detects templates.
SCRIPT_MARKER = "ran=1"
HOSTILE_MARKUP = (
    f"<img src=x onerror={SCRIPT_MARKER}><script>{SCRIPT_MARKER}</script>"
    f"\"'><b onclick={SCRIPT_MARKER}>&lt;{{{{7*7}}}}"
)
SESSION = "0d3f7a52-0000-4e4e-80b5-f1ffddc25423"


class UnprotectedProcess(MarqueeProcess):
    """The server without its protections (unprotected_server.py): every attack must succeed."""

    program = (sys.executable, str(PROGRAMS / "unprotected_server.py"))


class AttackTarget:
    """A server with sample data, its logged-in owner, and an app with tokens."""

    def __init__(self, kind: type[MarqueeProcess], data: Path, *arguments: str) -> None:
        self.server = kind(data, "--sample", "--no-traffic", "--max-upload", "2000000", *arguments)
        wait_for(lambda: "password" in "".join(self.server.stdout_lines))
        time.sleep(0.1)
        self._session = AdminBrowser(self.server).log_in(*owner_credentials(self.server)).cookie
        page = self.owner.post("/admin/apps", name="Shop", hosts="www.example.com")
        assert page.status == 200, page_text(page)
        self.app_id = find_text(r"/admin/apps/(\d+)", page)
        self.secret_token = find_text(r'id="token">([^<]+)<', page)
        page = self.owner.get(f"/admin/apps/{self.app_id}")
        self.public_token = find_text(r"Public token</dt><dd><code>([^<]+)<", page)
        page = self.owner.post(f"/admin/apps/{self.app_id}/tokens", scopes="admin")
        self.admin_token = find_text(r'id="token">([^<]+)<', page)

    @property
    def owner(self) -> AdminBrowser:
        """Return a new browser in which the owner is logged in."""
        browser = AdminBrowser(self.server)
        browser.cookie = self._session
        return browser

    def send(self, *events: dict[str, Any]) -> list[dict[str, Any]]:
        """Send events and return their results."""
        response = self.call("/events", "POST", list(events))
        assert response.status == 202, response.text
        results: list[dict[str, Any]] = response.json()["results"]
        return results

    def call(
        self, path: str, method: str = "GET", body: Any = None, token: str = ""
    ) -> ServerResponse:
        """Call the API with a token, by default the app's secret token."""
        headers = {"Authorization": f"Bearer {token or self.secret_token}"}
        if body is not None:
            headers["Content_Type"] = "application/json"
        encoded = None if body is None else json.dumps(body).encode()
        return self.server.request(path, method, encoded, **headers)

    def upload(self, *files: tuple[str, bytes]) -> ServerResponse:
        """Upload files, whose names may hold any byte as a surrogate."""
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

    def wait_for_upload(self, response: ServerResponse) -> ServerResponse:
        """Return the page that reports a finished upload."""
        assert response.status == 303, page_text(response)
        page: ServerResponse = wait_for(
            lambda: finished_upload(self.owner.get(response.headers["Location"])), 30
        )
        return page

    def stop(self) -> None:
        """Stop the server; only an unprotected one may have logged tracebacks."""
        status = self.server.stop()
        assert status == 0, self.server.log
        if not isinstance(self.server, UnprotectedProcess):
            assert "Traceback" not in self.server.log, self.server.log


class OtherSite(ThreadingHTTPServer):
    """Another site with one page."""

    def __init__(self, page: str) -> None:
        self.page = page.encode()
        super().__init__(("127.0.0.1", 0), _PageHandler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
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


def finished_upload(page: ServerResponse) -> ServerResponse | None:
    return None if "data-reload-ms" in page.text else page


def attack_event(**members: Any) -> dict[str, Any]:
    """Return an event that is valid but for `members`."""
    return {
        "session_id": SESSION,
        "category": "attack",
        "name": "attack",
        "data": {},
        "timestamp": "2021-01-01 09:15:27",
        **members,
    }


def zip_files(files: Iterable[tuple[str, bytes]]) -> bytes:
    """Return a zip archive of files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return content.getvalue()


def with_query(path: str, **parameters: str) -> str:
    return f"{path}?{urlencode(parameters)}"
