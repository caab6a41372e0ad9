"""The server with its guards taken out: `python unprotected_server.py serve …`, as of `server.py`.

What attacks it must succeed; a table of attacks that fails here, too, shows nothing.
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

# Before anybody takes them from there: no policy, no word on frames or sniffing; nothing that
# tells a cache on what an answer depends.
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

ANYTHING = re.compile(r".*", re.DOTALL)
NOTHING = re.compile(r"(?!)")


def what_others_said_is_markup() -> None:
    """Templates escape nothing."""
    made = responses.Loader

    def loader(*rest: Any, **more: Any) -> template.Loader:
        return made(*rest, **{**more, "autoescape": None})

    responses.Loader = loader  # type: ignore[assignment, misc]


def forms_come_from_anywhere() -> None:
    """No look at where a form comes from."""
    made = http_application.RateLimitedApplication

    def open_to_all(*rules: Any, **settings: Any) -> Any:
        return made(*rules, **{**settings, "cross_origin_protection": False})

    http_application.RateLimitedApplication = open_to_all  # type: ignore[misc,assignment]


def a_login_leads_anywhere() -> None:
    """`next` is believed."""
    login.AdminLoginPage._safe_next_url = lambda self, wanted: wanted or "/admin/"  # type: ignore[method-assign]


def a_session_is_the_one_that_came() -> None:
    """A cookie that came with the login is taken for the session's."""
    enter = login.AdminLoginBasePage.start_session

    async def adopting(self: Any, sessions: Any, *rest: Any) -> None:
        given = self.get_cookie(self.cookie_name)
        chosen = SimpleNamespace(token_urlsafe=lambda _: given)
        login_sessions.secrets = chosen if given else secrets
        await enter(self, sessions, *rest)

    login.AdminLoginBasePage.start_session = adopting  # type: ignore[method-assign]


def a_path_leads_anywhere() -> None:
    """Static files are whatever a path leads to, uploads lie where they say."""

    def believed(self: Any, root: str, absolute_path: str) -> str:
        if not os.path.isfile(absolute_path):
            raise web.HTTPError(404)
        return absolute_path

    StaticAssetHandler.get_absolute_path = classmethod(  # type: ignore[method-assign,assignment]
        lambda _, root, path: os.path.abspath(os.path.join(root, path))
    )
    StaticAssetHandler.validate_absolute_path = believed  # type: ignore[method-assign]
    upload_folder.path_in_campaign = lambda said: said


def an_upload_has_any_size() -> None:
    """What is unpacked is not counted."""
    made = upload_folder.UploadFolder.__init__

    def boundless(self: Any, data: Path, most: int) -> None:
        made(self, data, 1 << 60)

    upload_folder.UploadFolder.__init__ = boundless  # type: ignore[method-assign]
    upload_folder.MAX_UPLOAD_FILES = 1 << 40
    upload_folder.MAX_ZIP_DIRECTORY_BYTES = 1 << 40


def a_cell_is_what_it_says() -> None:
    """Spreadsheets find formulas."""
    event_export.FORMULA_PREFIXES = ()


def a_header_is_what_it_says() -> None:
    """Ends of lines go out in headers."""
    web.RequestHandler._VALID_HEADER_CHARS = ANYTHING
    httputil._FORBIDDEN_HEADER_CHARS_RE = NOTHING
    tornado_connection._encode_head = lambda lines: "\r\n".join(lines).encode("latin-1")


def a_host_is_what_it_says() -> None:
    """Redirects name the host that the request named."""
    redirect = web.RequestHandler.redirect

    def naming(self: Any, url: str, *rest: Any, **more: Any) -> None:
        if re.match("/(?!/)", url):
            url = f"{self.request.protocol}://{self.request.host}{url}"
        redirect(self, url, *rest, **more)

    web.RequestHandler.redirect = naming  # type: ignore[method-assign]


def nobody_waits() -> None:
    """Wrong passwords cost nothing."""
    login_throttle.LoginThrottle.wait = lambda *_: 0.0  # type: ignore[method-assign]


def redirects_are_followed() -> None:
    """The upstream may send us anywhere."""
    asked = toppages_client.HTTPRequest
    toppages_client.HTTPRequest = lambda *some, **more: asked(  # type: ignore[misc,assignment]
        *some, **{**more, "follow_redirects": True}
    )


def a_rule_costs_what_it_likes() -> None:
    """References multiply, and patterns try every way there is."""
    event_schema.MAX_SCHEMA_PARTS = 1 << 60
    event_schema.REGEX_OPTIONS = FancyRegexOptions(backtrack_limit=1 << 40)
    event_schema._METASCHEMA = Draft202012Validator(
        {"$ref": event_schema.SCHEMA_DIALECT},
        offline=True,
        pattern_options=event_schema.REGEX_OPTIONS,
    )


def a_terminal_is_told_all() -> None:
    """What others said goes to a terminal as it is."""
    events.escape_for_terminal = lambda said: said


def logs_and_files_are_told_all() -> None:
    """Logs have what was asked, as it was; sessions are kept as they are."""

    def telling(handler: Any) -> None:
        request = handler.request
        access_log.LOG.info("%s %s", request.uri, dict(request.headers.get_all()))

    logging_setup.SECRET_TOKEN = NOTHING
    access_log.log_handler = telling
    login_sessions._sha256 = str.encode


GUARDS = (
    what_others_said_is_markup,
    forms_come_from_anywhere,
    a_login_leads_anywhere,
    a_session_is_the_one_that_came,
    a_path_leads_anywhere,
    an_upload_has_any_size,
    a_cell_is_what_it_says,
    a_header_is_what_it_says,
    a_host_is_what_it_says,
    nobody_waits,
    redirects_are_followed,
    a_rule_costs_what_it_likes,
    a_terminal_is_told_all,
    logs_and_files_are_told_all,
)

if __name__ == "__main__":
    for each in GUARDS:
        each()
    sys.exit(server.main(sys.argv[1:]))
