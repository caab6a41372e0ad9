"""The answers that all resources share: security headers, problem details, the HTML error page."""

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

# Nothing but what this server itself serves; no script, no frame, no form elsewhere.
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
    """An error's body (RFC 9457)."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    errors: list[FieldError] = msgspec.field(default_factory=list)


def reason_phrase(status: int) -> str:
    """The status's own words, such as "Not Found"."""
    try:
        return http.HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def problem_body(status: int, detail: str, errors: Sequence[FieldError] = ()) -> bytes:
    """A problem as JSON; `detail` says what happened and what to do."""
    problem = ProblemDetails(reason_phrase(status), status, detail, errors=list(errors))
    # `type` is a default, yet readers look for it.
    return msgspec.json.encode({"type": problem.type, **msgspec.to_builtins(problem)})


def problem_response(status: int, detail: str, *more: tuple[str, str]) -> Response:
    """A ready-made problem answer, with `more` headers."""
    return Response(
        status,
        [PROBLEM_CONTENT_TYPE, NO_STORE, *SECURITY_HEADERS, *more],
        problem_body(status, detail),
    )


def is_not_modified(request: Request, tag: str) -> bool:
    """Whether who asks has what this `ETag` is of, and is answered 304 (RFC 9110, 13.1.2)."""
    said = request.header("If-None-Match")
    if said is None:
        return False
    tags = [each.strip().removeprefix("W/") for each in said.split(",")]
    return tag.removeprefix("W/") in tags or tags == ["*"]


def escape_html(said: str | bytes) -> str:
    """Escape text for HTML, with escapes for invisible characters."""
    return xhtml_escape(escape_control(to_unicode(said)))


def is_prefetch(request: Request) -> bool:
    """Return whether a browser prefetches for a visit that may never happen.

    Chromium and Firefox send `Sec-Purpose: prefetch`, with parameters where it prerenders; older
    ones `Purpose` or `X-Moz`.
    """
    return b"prefetch" in request.head and any(
        "prefetch" in (request.header(name) or "") for name in ("Sec-Purpose", "Purpose", "X-Moz")
    )


class PageTemplates:
    """HTML made from `templates/`."""

    def __init__(self, static: Callable[[str], str], create_user: str = "") -> None:
        """`static` gives the address of a file in `static/`, with its version.

        `create_user` is the command that makes a user.
        """
        namespace = {"static": static, "create_user": create_user, "escaped": escape_html}
        self._loader = Loader(
            str(PROJECT_ROOT / "templates"), autoescape="escaped", namespace=namespace
        )

    def html(self, template: str, **values: object) -> bytes:
        """The template's page."""
        return self._loader.load(template).generate(**values)

    def error_body(self, status: int, detail: str) -> bytes:
        """The error page, which says the same words as the problem answer."""
        return self.html("error.html", status=status, title=reason_phrase(status), detail=detail)

    def error(self, status: int, detail: str) -> Response:
        """A ready-made error page."""
        return Response(
            status,
            [HTML_CONTENT_TYPE, NO_STORE, *SECURITY_HEADERS],
            self.error_body(status, detail),
        )
