"""The server without its protections: `python unprotected_server.py serve …`.

Every attack must succeed against it; an attack that fails here too proves nothing about the server.
"""

import os
import re
import secrets
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

from jsonschema_rs import Draft202012Validator, FancyRegexOptions
from tornado import httputil, template, web

from handlers.common import cors, responses

# Replaced before other modules import them: no Content-Security-Policy, no X-Frame-Options, no
# nosniff, and a Vary header that protects no cache.
responses.SECURITY_HEADERS = ()
cors.VARY_ORIGIN = ("X-Nothing", "here")

import server  # noqa: E402
from app import http_application, logging_setup  # noqa: E402
from background.audience import toppages_client  # noqa: E402
from commands import events  # noqa: E402
from domain.admin import login_throttle  # noqa: E402
from domain.events import event_schema  # noqa: E402
from handlers.admin import login  # noqa: E402
from handlers.common import access_log  # noqa: E402
from handlers.common.base_handler import StaticAssetHandler  # noqa: E402
from httpserver.tornado import tornado_connection  # noqa: E402
from imports import upload_folder  # noqa: E402
from store.sqlite.admin import login_sessions  # noqa: E402
from store.sqlite.events import event_export  # noqa: E402
from tests.support.programs import replace_attribute  # noqa: E402

ANYTHING = re.compile(r".*", re.DOTALL)
NOTHING = re.compile(r"(?!)")


def disable_template_escaping() -> None:
    """Let templates insert text as markup."""
    original: Any = responses.Loader  # type: ignore[attr-defined]

    def loader(*args: Any, **options: Any) -> template.Loader:
        loader: template.Loader = original(*args, **{**options, "autoescape": None})
        return loader

    replace_attribute(responses, "Loader", loader)


def accept_cross_origin_forms() -> None:
    """Accept forms that other sites submit."""
    original: Any = http_application.RateLimitedApplication  # type: ignore[attr-defined]

    def unprotected(*routes: Any, **settings: Any) -> Any:
        return original(*routes, **{**settings, "cross_origin_protection": False})

    replace_attribute(http_application, "RateLimitedApplication", unprotected)


def redirect_anywhere_after_login() -> None:
    """Accept any URL in `next`."""
    login.AdminLoginPage._safe_next_url = lambda _, next_url: next_url or "/admin/"


def adopt_given_session() -> None:
    """Keep the session cookie that the browser sent before the login (session fixation)."""
    start_session = login.AdminLoginBasePage.start_session

    async def adopting(self: Any, sessions: Any, *args: Any) -> None:
        given = self.get_cookie(self.cookie_name)
        chosen = SimpleNamespace(token_urlsafe=lambda _: given)
        replace_attribute(login_sessions, "secrets", chosen if given else secrets)
        await start_session(self, sessions, *args)

    login.AdminLoginBasePage.start_session = adopting


def follow_any_path() -> None:
    """Serve static files outside the folder, and store uploads at the paths that they name."""

    def validate(self: Any, root: str, absolute_path: str) -> str:
        if not os.path.isfile(absolute_path):
            raise web.HTTPError(404)
        return absolute_path

    StaticAssetHandler.get_absolute_path = classmethod(
        lambda _, root, path: os.path.abspath(os.path.join(root, path))
    )
    StaticAssetHandler.validate_absolute_path = validate
    replace_attribute(upload_folder, "path_in_campaign", lambda path: path)


def accept_uploads_of_any_size() -> None:
    """Unpack archives without a limit."""
    original = upload_folder.UploadFolder.__init__

    def unlimited(self: Any, data: Path, _: int) -> None:
        original(self, data, 1 << 60)

    upload_folder.UploadFolder.__init__ = unlimited
    upload_folder.MAX_UPLOAD_FILES = 1 << 40
    upload_folder.MAX_ZIP_DIRECTORY_BYTES = 1 << 40


def export_formulas() -> None:
    """Export cells that spreadsheets evaluate as formulas."""
    event_export.FORMULA_PREFIXES = ()


def accept_line_breaks_in_headers() -> None:
    """Send header values with line breaks."""
    web.RequestHandler._VALID_HEADER_CHARS = ANYTHING
    httputil._FORBIDDEN_HEADER_CHARS_RE = NOTHING
    tornado_connection._encode_head = lambda lines: "\r\n".join(lines).encode("latin-1")


def redirect_to_requested_host() -> None:
    """Redirect to the host that the request named."""
    redirect = web.RequestHandler.redirect

    def with_host(self: Any, url: str, *args: Any, **options: Any) -> None:
        if re.match("/(?!/)", url):
            url = f"{self.request.protocol}://{self.request.host}{url}"
        redirect(self, url, *args, **options)

    web.RequestHandler.redirect = with_host


def disable_login_throttle() -> None:
    """Do not delay logins after wrong passwords."""
    login_throttle.LoginThrottle.wait = lambda *_: 0.0


def follow_upstream_redirects() -> None:
    """Follow redirects of an upstream server."""
    original: Any = toppages_client.HTTPRequest  # type: ignore[attr-defined]
    replace_attribute(
        toppages_client,
        "HTTPRequest",
        lambda *args, **options: original(*args, **{**options, "follow_redirects": True}),
    )


def accept_costly_schemas() -> None:
    """Accept schemas whose references multiply and whose patterns backtrack without a limit."""
    event_schema.MAX_SCHEMA_PARTS = 1 << 60
    event_schema.REGEX_OPTIONS = FancyRegexOptions(backtrack_limit=1 << 40)
    event_schema._METASCHEMA = Draft202012Validator(
        {"$ref": event_schema.SCHEMA_DIALECT},
        offline=True,
        pattern_options=event_schema.REGEX_OPTIONS,
    )


def print_control_characters() -> None:
    """Print text from clients to the terminal unescaped."""
    replace_attribute(events, "escape_for_terminal", lambda text: text)


def keep_secrets_in_logs_and_files() -> None:
    """Log requests with their secrets, and store session tokens without a hash."""

    def log_handler(handler: Any) -> None:
        request = handler.request
        access_log.LOG.info("%s %s", request.uri, dict(request.headers.get_all()))

    logging_setup.SECRET_TOKEN = NOTHING
    access_log.log_handler = log_handler
    login_sessions._sha256 = str.encode


REMOVED_PROTECTIONS = (
    disable_template_escaping,
    accept_cross_origin_forms,
    redirect_anywhere_after_login,
    adopt_given_session,
    follow_any_path,
    accept_uploads_of_any_size,
    export_formulas,
    accept_line_breaks_in_headers,
    redirect_to_requested_host,
    disable_login_throttle,
    follow_upstream_redirects,
    accept_costly_schemas,
    print_control_characters,
    keep_secrets_in_logs_and_files,
)

if __name__ == "__main__":
    for remove in REMOVED_PROTECTIONS:
        remove()
    sys.exit(server.main(sys.argv[1:]))
