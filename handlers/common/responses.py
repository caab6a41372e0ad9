"""Shared responses: security headers, problem details, HTML templates."""

import http
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from tornado.escape import to_unicode, xhtml_escape
from tornado.template import Loader

from domain.common.formatting import escape_control
from domain.common.validation_errors import FieldError
from httpserver import Request, Response

PROJECT_ROOT = Path(__file__).parents[2]

# Only resources of this server; no inline script, no frame, no form to another site.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = (
    ("Content-Security-Policy", CONTENT_SECURITY_POLICY),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)
HTML_CONTENT_TYPE = ("Content-Type", "text/html; charset=utf-8")
PROBLEM_CONTENT_TYPE = ("Content-Type", "application/problem+json")
NO_STORE = ("Cache-Control", "no-store")


class ProblemDetails(msgspec.Struct, omit_defaults=True):
    """The body of an error response (RFC 9457)."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    errors: list[FieldError] = msgspec.field(default_factory=list)


def reason_phrase(status: int) -> str:
    """Return the reason phrase of a status, such as "Not Found"."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def problem_body(status: int, detail: str, errors: Sequence[FieldError] = ()) -> bytes:
    """Return problem details as JSON; `detail` describes the error and its remedy."""
    problem = ProblemDetails(reason_phrase(status), status, detail, errors=list(errors))
    # `type` has its default value, but clients look for it.
    return msgspec.json.encode({"type": problem.type, **msgspec.to_builtins(problem)})


def problem_response(status: int, detail: str, *headers: tuple[str, str]) -> Response:
    """Return a response with problem details and additional `headers`."""
    return Response(
        status,
        [PROBLEM_CONTENT_TYPE, NO_STORE, *SECURITY_HEADERS, *headers],
        problem_body(status, detail),
    )


def is_not_modified(request: Request, tag: str) -> bool:
    """Return whether `If-None-Match` contains this ETag (RFC 9110, section 13.1.2)."""
    header = request.header("If-None-Match")
    if header is None:
        return False
    tags = [each.strip().removeprefix("W/") for each in header.split(",")]
    return tag.removeprefix("W/") in tags or tags == ["*"]


def escape_html(value: str | bytes) -> str:
    """Escape text for HTML, including invisible characters."""
    return xhtml_escape(escape_control(to_unicode(value)))


def is_prefetch(request: Request) -> bool:
    """Return whether a browser prefetches the page for a possible visit.

    Chromium and Firefox send `Sec-Purpose: prefetch`, with parameters for a prerender. Older
    browsers send `Purpose` or `X-Moz`.
    """
    return b"prefetch" in request.head and any(
        "prefetch" in (request.header(name) or "") for name in ("Sec-Purpose", "Purpose", "X-Moz")
    )


class PageTemplates:
    """Renders the templates in `templates/`."""

    def __init__(self, static: Callable[[str], str], create_user: str = "") -> None:
        """`static` returns the versioned URL of a file in `static/`.

        `create_user` is the command line that creates an admin user.
        """
        namespace = {"static": static, "create_user": create_user, "escaped": escape_html}
        self._loader = Loader(
            str(PROJECT_ROOT / "templates"), autoescape="escaped", namespace=namespace
        )

    def render(self, template: str, **values: object) -> bytes:
        """Return the rendered template."""
        return self._loader.load(template).generate(**values)

    def render_error(self, status: int, detail: str) -> bytes:
        """Return the error page; its text is that of the problem details."""
        return self.render("error.html", status=status, title=reason_phrase(status), detail=detail)

    def error_response(self, status: int, detail: str) -> Response:
        """Return a response with the error page."""
        return Response(
            status,
            [HTML_CONTENT_TYPE, NO_STORE, *SECURITY_HEADERS],
            self.render_error(status, detail),
        )
