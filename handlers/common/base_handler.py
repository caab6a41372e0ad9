"""What every handler of the control plane has: the errors' words, headers, and who is asking."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

import ujson
from tornado.httputil import HTTPServerRequest
from tornado.web import HTTPError, RequestHandler, StaticFileHandler

from domain.common.content_negotiation import prefers_html
from domain.common.hosts import DEFAULT_PORTS, canonical_host, host_of_origin, without_port
from domain.common.http_date import parse_http_date
from domain.common.validation_errors import FieldError
from handlers.common.responses import (
    HTML_CONTENT_TYPE,
    NO_STORE,
    PROBLEM_CONTENT_TYPE,
    SECURITY_HEADERS,
    PageTemplates,
    problem_body,
    reason_phrase,
)
from httpserver import REQUEST_ID_HEADER, get_request_id
from store.api.errors import StoreBusy, StoreError, StoreRefused
from store.sqlite.admin.apps import AppAccess

LOG = logging.getLogger("marquee.handlers")

# What people open in a browser; everything else is for programs.
HTML_PATH_PREFIXES = ("/campaigns/", "/banners/", "/admin", "/live/")

Authenticate = Callable[[str], Awaitable[AppAccess | None]]


# Of a request, by this name: the fields that its answer, whatever it is, tells of its limits.
RATE_LIMIT_ATTRIBUTE = "limited"
# Of a request, by this name: its identifier, for the log and the response.
REQUEST_ID_ATTRIBUTE = "identifier"


def request_id(request: HTTPServerRequest) -> str:
    """Return the identifier that the client gave the request, or a new one if that is not valid."""
    known = vars(request)
    if REQUEST_ID_ATTRIBUTE not in known:
        known[REQUEST_ID_ATTRIBUTE] = get_request_id(request.headers) or secrets.token_hex(16)
    found: str = known[REQUEST_ID_ATTRIBUTE]
    return found


def set_request_headers(handler: RequestHandler) -> None:
    """Set the request's identifier, and the fields of the limits that it has passed."""
    handler.set_header(REQUEST_ID_HEADER, request_id(handler.request))
    for name, value in getattr(handler.request, RATE_LIMIT_ATTRIBUTE, ()):
        handler.add_header(name, value)


class ApiError(HTTPError):
    """An error with words for the client, and what is wrong where."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: list[FieldError] | None = None,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        super().__init__(status, reason=reason_phrase(status))
        self.detail = detail
        self.errors = errors or []
        # Those that were set before do not outlive an error.
        self.headers = headers


class BaseHandler(RequestHandler):
    """The base of all handlers; `settings` carry `pages` and `authenticate`."""

    # Methods whose bodies are read; for any other method, the server discards the body.
    body_methods: ClassVar[frozenset[str]] = frozenset({"POST", "PUT", "PATCH"})

    def set_default_headers(self) -> None:
        """Every answer, errors too, carries the security headers."""
        for name, value in (*SECURITY_HEADERS, NO_STORE):
            self.set_header(name, value)
        self.clear_header("Server")
        set_request_headers(self)

    def send_json(self, value: object) -> None:
        """Answer with `value` (plain dicts, lists, numbers and text) as JSON."""
        self.set_header("Content-Type", "application/json")
        self.finish(ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False))

    async def access(self, scope: str, *, required: bool = True) -> AppAccess | None:
        """Who asks, by the bearer token; None without one where none is `required`.

        Raises 401 for a token that is none, 403 for one without `scope`.
        """
        if not required and "Authorization" not in self.request.headers:
            return None
        access = await self.who()
        if scope not in access.scopes:
            raise ApiError(403, f"This token lacks the scope `{scope}`.")
        return access

    async def who(self) -> AppAccess:
        """Who asks, by the bearer token; raises 401 without one that is known."""
        given = self.request.headers.get("Authorization")
        if given is None:
            raise self._unknown("This needs a token: send `Authorization: Bearer mq_…`.")
        scheme, _, token = given.partition(" ")
        authenticate: Authenticate = self.settings["authenticate"]
        access = await authenticate(token.strip()) if scheme.lower() == "bearer" else None
        if access is None:
            raise self._unknown("No such token is known here, or it was revoked.")
        limit = self.settings["rates"].token
        if limit is not None:
            verdict = limit.take(access.token)
            fields = limit.fields(verdict)
            if not verdict.allowed:
                self.refuse()
                raise ApiError(429, limit.words(), headers=fields)
            told = vars(self.request)
            told[RATE_LIMIT_ATTRIBUTE] = [*told.get(RATE_LIMIT_ATTRIBUTE, ()), *fields]
            for field in fields:
                self.add_header(*field)
        return access

    def check_trusted_origin(self, origin: str) -> bool:
        """Return whether a form was sent from a page of this server, by Origin and Host.

        Tornado asks only where `Sec-Fetch-Site` does not say so: browsers send that over TLS and
        to loopback addresses alone. nginx's `$host` has no port. Behind a named proxy, a Host
        without a port is compared by name; this is no weaker than the session's cookie, which
        browsers send to every port of a host.
        """
        if "Sec-Fetch-Site" in self.request.headers:
            return False
        page, host = host_of_origin(origin), canonical_host(self.request.headers.get("Host", ""))
        if page is None or host is None:
            return False
        if host == page + DEFAULT_PORTS[origin.startswith("http:")]:
            return True
        if self.settings["proxied"] and host == without_port(page):
            return True
        raise ApiError(
            403,
            f"The form is on a page of {page}, but the request has Host: {host}. Behind a proxy, "
            "let it pass the host and port on (nginx: `proxy_set_header Host $http_host;`) and "
            "name its address in Marquee's setting `proxies`.",
        )

    def refuse(self) -> None:
        """Count that a request whose sender is known was turned away; of most, nothing is."""

    def _unknown(self, detail: str) -> ApiError:
        return ApiError(401, detail)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """The error in the words of RFC 9457, or as a page where people read it."""
        raised = (kwargs.get("exc_info") or (None, None, None))[1]
        errors: list[FieldError] = []
        if isinstance(raised, StoreError) and not isinstance(raised, StoreRefused):
            status_code, detail = 503, f"This cannot be looked up now ({raised}); ask again."
            self.set_status(503)
            self.set_header("Retry-After", "1")
        elif isinstance(raised, ApiError):
            detail, errors = raised.detail, raised.errors
            for header in raised.headers:
                self.add_header(*header)
        else:
            detail = STATUS_DETAILS.get(status_code, "The request cannot be answered.")
        # Of static files, too: a cache that was sent nonsense gives it to nobody else.
        self.set_header(*NO_STORE)
        if status_code == 401:
            self.set_header("WWW-Authenticate", 'Bearer realm="Marquee"')
        if self.for_people():
            self.set_header(*HTML_CONTENT_TYPE)
            self.finish(self.error_page(status_code, detail))
        else:
            self.set_header(*PROBLEM_CONTENT_TYPE)
            self.finish(problem_body(status_code, detail, errors))

    def error_page(self, status: int, detail: str) -> bytes:
        """Return the error as a page."""
        pages: PageTemplates = self.settings["pages"]
        return pages.error_body(status, detail)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """What a client did wrong is told to it alone; what went wrong here, without its query."""
        if not isinstance(value, HTTPError | StoreBusy):
            request = self.request
            about = (request.method, request.path, request_id(request))
            LOG.error("%s %s raised (request %s)", *about, exc_info=(typ, value, tb))

    def for_people(self) -> bool:
        """Whether an error here is read by a person."""
        path = self.request.path
        if path.startswith(HTML_PATH_PREFIXES) or path == "/":
            return True
        return prefers_html(self.request.headers.get("Accept"))


STATUS_DETAILS = {
    400: "The request could not be understood.",
    403: "This is not allowed.",
    404: "There is nothing at this address.",
    405: "This address does not take that method; see the Allow header.",
    413: "The request's body is larger than this address takes.",
    500: "Something went wrong here; it has been logged.",
    503: "The server cannot do this right now; try again in a moment.",
}


class NotFoundHandler(BaseHandler):
    """Whatever no other handler takes."""

    body_methods = frozenset()

    def prepare(self) -> None:
        """Say so."""
        raise ApiError(404, STATUS_DETAILS[404])


class StaticAssetHandler(StaticFileHandler):
    """Files of `static/`: kept for long under an address that bears their version."""

    body_methods: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def get_content_version(cls, abspath: str) -> str:
        """The version: enough of the content's hash to tell it apart, in every page's head."""
        return super().get_content_version(abspath)[:16]

    @classmethod
    def _get_cached_version(cls, abs_path: str) -> str | None:
        version: str | None = super()._get_cached_version(abs_path)
        if version is None:  # Tornado would cache for ever that the file could not be read
            with cls._lock:
                cls._static_hashes.pop(abs_path, None)
        return version

    def set_default_headers(self) -> None:
        """The security headers."""
        for name, value in SECURITY_HEADERS:
            self.set_header(name, value)
        self.clear_header("Server")
        set_request_headers(self)

    def get_content_type(self) -> str:
        """The type, with the one encoding that all text here is in."""
        kind = super().get_content_type()
        return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind

    def set_headers(self) -> None:
        """Set the fields of the file, and drop a Range that must not be honoured.

        This is a range of another version of the file (If-Range; RFC 9110, section 13.1.5), and
        any range in a HEAD request (section 14.2).
        """
        super().set_headers()
        headers = self.request.headers
        if "Range" in headers and (self.request.method != "GET" or not self._range_applies()):
            del headers["Range"]

    def _range_applies(self) -> bool:
        validator = self.request.headers.get("If-Range")
        if validator is None:
            return True
        if validator[:1] == '"':  # a weak tag never matches
            return validator == self._headers.get("Etag")
        return parse_http_date(validator, datetime.now(UTC)) == self.modified

    def should_return_304(self) -> bool:
        """Whether the client has this version of the file (RFC 9110, section 13.2.2)."""
        headers = self.request.headers
        if "If-None-Match" in headers:
            return self.check_etag_header()
        since = parse_http_date(headers.get("If-Modified-Since", ""), datetime.now(UTC))
        return since is not None and self.modified is not None and self.modified <= since

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        """The file's path; an HTTP error for whatever is none of these files."""
        try:
            return super().validate_absolute_path(root, absolute_path)
        except ValueError:  # no file can have this name
            raise ApiError(404, STATUS_DETAILS[404]) from None

    write_error = BaseHandler.write_error
    error_page = BaseHandler.error_page
    log_exception = BaseHandler.log_exception
    for_people = BaseHandler.for_people
