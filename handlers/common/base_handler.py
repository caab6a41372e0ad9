"""Base class of all Tornado handlers: authentication, headers, error responses."""

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
from store.sqlite.admin.token_authenticator import AppAccess

LOG = logging.getLogger("marquee.handlers")

# Paths that respond with HTML error pages; others depend on `Accept`.
HTML_PATH_PREFIXES = ("/campaigns/", "/banners/", "/admin", "/live/")

Authenticate = Callable[[str], Awaitable[AppAccess | None]]


# Request attribute with the rate limit fields that every response to it carries.
RATE_LIMIT_ATTRIBUTE = "limited"
# Request attribute with the request id, for the log and the response.
REQUEST_ID_ATTRIBUTE = "identifier"


def request_id(request: HTTPServerRequest) -> str:
    """Return the client's request id if it is valid, else a generated one."""
    attributes = vars(request)
    if REQUEST_ID_ATTRIBUTE not in attributes:
        attributes[REQUEST_ID_ATTRIBUTE] = get_request_id(request.headers) or secrets.token_hex(16)
    identifier: str = attributes[REQUEST_ID_ATTRIBUTE]
    return identifier


def set_request_headers(handler: RequestHandler) -> None:
    """Set the request id and the rate limit fields of the response."""
    handler.set_header(REQUEST_ID_HEADER, request_id(handler.request))
    for name, value in getattr(handler.request, RATE_LIMIT_ATTRIBUTE, ()):
        handler.add_header(name, value)


class ApiError(HTTPError):
    """An HTTP error with a detail for the client and the invalid fields."""

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
        # Tornado clears the headers set so far when a handler raises.
        self.headers = headers


class BaseHandler(RequestHandler):
    """Base of all handlers.

    The application settings `pages`, `authenticate`, `rates` and `proxied` are required.
    """

    # Methods whose body the server reads; it discards the body of any other method.
    body_methods: ClassVar[frozenset[str]] = frozenset({"POST", "PUT", "PATCH"})

    def set_default_headers(self) -> None:
        """Set the security headers of every response, errors included."""
        for name, value in (*SECURITY_HEADERS, NO_STORE):
            self.set_header(name, value)
        self.clear_header("Server")
        set_request_headers(self)

    def send_json(self, value: object) -> None:
        """Send builtins (dicts, lists, numbers, strings) as JSON."""
        self.set_header("Content-Type", "application/json")
        self.finish(ujson.dumps(value, ensure_ascii=False, escape_forward_slashes=False))

    async def require_scope(self, scope: str, *, required: bool = True) -> AppAccess | None:
        """Return the access of the bearer token; None for a request without an optional one.

        Raises 401 for an unknown token, 403 for a token without `scope`.
        """
        if not required and "Authorization" not in self.request.headers:
            return None
        access = await self.authenticate()
        if scope not in access.scopes:
            raise ApiError(403, f"This token lacks the scope `{scope}`.")
        return access

    async def authenticate(self) -> AppAccess:
        """Return the access of the bearer token and count the request for its rate limit.

        Raises 401 without a known token, 429 above the limit.
        """
        authorization = self.request.headers.get("Authorization")
        if authorization is None:
            raise ApiError(401, MISSING_CREDENTIALS)
        scheme, _, token = authorization.partition(" ")
        look_up: Authenticate = self.settings["authenticate"]
        access = await look_up(token.strip()) if scheme.lower() == "bearer" else None
        if access is None:
            raise ApiError(401, INVALID_CREDENTIALS)
        limit = self.settings["rates"].per_token
        if limit is not None:
            decision = limit.count_request(access.token_id)
            fields = limit.fields(decision)
            if not decision.allowed:
                self.count_refused()
                raise ApiError(429, limit.message(), headers=fields)
            attributes = vars(self.request)
            attributes[RATE_LIMIT_ATTRIBUTE] = [*attributes.get(RATE_LIMIT_ATTRIBUTE, ()), *fields]
            for field in fields:
                self.add_header(*field)
        return access

    def check_trusted_origin(self, origin: str) -> bool:
        """Return whether a form was sent from a page of this server, by Origin and Host.

        Tornado calls this for requests whose `Sec-Fetch-Site` is not same-origin. Browsers send
        that header only over TLS and to loopback addresses. Behind a configured proxy, a Host
        without a port (nginx `$host`) is compared by name only. This is as strong as the session
        cookie, which browsers send to every port of a host.
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
            "forward the host and port (nginx: `proxy_set_header Host $http_host;`) and add the "
            "address of the proxy to the setting `proxies`.",
        )

    def count_refused(self) -> None:
        """Count an authenticated request above its rate limit; the default counts nothing."""

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send the error as problem details (RFC 9457), or as a page where a browser asks."""
        raised = (kwargs.get("exc_info") or (None, None, None))[1]
        errors: list[FieldError] = []
        if isinstance(raised, StoreError) and not isinstance(raised, StoreRefused):
            status_code, detail = 503, f"The store is not available now ({raised}); try again."
            self.set_status(503)
            self.set_header("Retry-After", "1")
        elif isinstance(raised, ApiError):
            detail, errors = raised.detail, raised.errors
            for header in raised.headers:
                self.add_header(*header)
        else:
            detail = STATUS_DETAILS.get(status_code, "The request failed.")
        # Also for static files: a cache must not serve an error response to other clients.
        self.set_header(*NO_STORE)
        if status_code == 401:
            self.set_header("WWW-Authenticate", 'Bearer realm="Marquee"')
        if self.wants_html():
            self.set_header(*HTML_CONTENT_TYPE)
            self.finish(self.render_error_page(status_code, detail))
        else:
            self.set_header(*PROBLEM_CONTENT_TYPE)
            self.finish(problem_body(status_code, detail, errors))

    def render_error_page(self, status: int, detail: str) -> bytes:
        """Return the error page."""
        pages: PageTemplates = self.settings["pages"]
        return pages.render_error(status, detail)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log server errors without the query; a client error is only in the response."""
        if not isinstance(value, HTTPError | StoreBusy):
            request = self.request
            fields = (request.method, request.path, request_id(request))
            LOG.error(
                "request failed method=%s path=%s request_id=%s", *fields, exc_info=(typ, value, tb)
            )

    def wants_html(self) -> bool:
        """Return whether an error of this request is a page instead of problem details."""
        path = self.request.path
        if path.startswith(HTML_PATH_PREFIXES) or path == "/":
            return True
        return prefers_html(self.request.headers.get("Accept"))


MISSING_CREDENTIALS = "A token is required: send `Authorization: Bearer mq_…`."
INVALID_CREDENTIALS = "The token is unknown or revoked."
STATUS_DETAILS = {
    400: "The request is malformed.",
    403: "Forbidden.",
    404: "There is no page or resource at this address.",
    405: "This address does not support the method; see the Allow header.",
    413: "The request body is too large for this address.",
    500: "Internal error; the server has logged it.",
    503: "The server is not available now; try again in a moment.",
}


class NotFoundHandler(BaseHandler):
    """Responds 404 for paths without a route."""

    body_methods = frozenset()

    def prepare(self) -> None:
        """Raise 404 before any method runs."""
        raise ApiError(404, STATUS_DETAILS[404])


class StaticAssetHandler(StaticFileHandler):
    """Serves `static/`; a URL with a version is cacheable for a long time."""

    body_methods: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def get_content_version(cls, abspath: str) -> str:
        """Return the version in URLs: the first 16 characters of the content hash."""
        return super().get_content_version(abspath)[:16]

    @classmethod
    def _get_cached_version(cls, abs_path: str) -> str | None:
        version: str | None = super()._get_cached_version(abs_path)
        if version is None:  # Tornado would cache the read error forever
            with cls._lock:
                cls._static_hashes.pop(abs_path, None)
        return version

    def set_default_headers(self) -> None:
        """Set the security headers."""
        for name, value in SECURITY_HEADERS:
            self.set_header(name, value)
        self.clear_header("Server")
        set_request_headers(self)

    def get_content_type(self) -> str:
        """Return the media type, with UTF-8 for text."""
        media_type = super().get_content_type()
        return f"{media_type}; charset=utf-8" if media_type.startswith("text/") else media_type

    def set_headers(self) -> None:
        """Set the headers of the file; ignore Range where RFC 9110 requires it.

        Ignored are a range of another version (If-Range, section 13.1.5) and any range of a HEAD
        request (section 14.2).
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
        """Return whether the client has this version of the file (RFC 9110, section 13.2.2)."""
        headers = self.request.headers
        if "If-None-Match" in headers:
            return self.check_etag_header()
        since = parse_http_date(headers.get("If-Modified-Since", ""), datetime.now(UTC))
        return since is not None and self.modified is not None and self.modified <= since

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:
        """Return the path of the file; raise 404 for an invalid name."""
        try:
            return super().validate_absolute_path(root, absolute_path)
        except ValueError:  # a name that no file can have, such as one with a NUL
            raise ApiError(404, STATUS_DETAILS[404]) from None

    write_error = BaseHandler.write_error
    render_error_page = BaseHandler.render_error_page
    log_exception = BaseHandler.log_exception
    wants_html = BaseHandler.wants_html
