"""Base class of the admin pages: session, page layout, form fields and CSRF protection."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

from domain.common import formatting
from handlers.common.api_handler import ApiHandler
from handlers.common.base_handler import STATUS_DETAILS, ApiError
from handlers.common.responses import HTML_CONTENT_TYPE, PageTemplates, reason_phrase
from handlers.common.text import as_sentence
from httpserver import cookie_values
from store.api.errors import StoreBusy, StoreError, StoreRefused
from store.sqlite.admin.login_sessions import LoggedInUser

# Browsers accept a `__Host-` cookie only over TLS, from this host and with Path=/ (RFC 6265bis,
# 4.1.3.2): neither a sibling domain nor plain HTTP can set one.
SESSION_COOKIE, SECURE_SESSION_COOKIE = "mq_owner", "__Host-mq_owner"
# Returns the user of a session token, None for an invalid or expired token.
SessionLookup = Callable[[str], Awaitable[LoggedInUser | None]]
# Navigation entries as (path, label).
NAVIGATION_LINKS = (
    ("/admin/", "Overview"),
    ("/admin/campaigns", "Campaigns"),
    ("/admin/stories", "Stories"),
    ("/admin/events", "Events"),
    ("/admin/schemas", "Event schemas"),
    ("/admin/rejected-events", "Rejected events"),
    ("/admin/audience", "Audience"),
    ("/admin/apps", "Apps"),
    ("/admin/health", "Health"),
)
ACCOUNT_LINKS = (("/admin/users", "Users"), ("/admin/audit", "Audit log"))


class AdminPage(ApiHandler):
    """The base of all admin pages; the settings `pages` and `session_user` must be present.

    All forms are POSTs. They are protected against CSRF: the cookie is `SameSite=Lax`, and the
    application's `cross_origin_protection` checks `Sec-Fetch-Site` and `Origin`. Every browser
    sends at least one of these headers with a form, also with scripts off.
    """

    # Whether the page is served without a session.
    is_public = False
    # Whether a user whose password was generated may open the page before changing it.
    allows_initial_password = False
    # Success messages by the value of the query argument `done`.
    done_messages: dict[str, str] = {}  # noqa: RUF012

    @property
    def actor(self) -> str:
        """The user name for the audit log; empty without a session."""
        return self.current_user.name if self.current_user else ""

    @property
    def secure(self) -> bool:
        """Whether the request arrived over TLS, here or at a trusted proxy."""
        return self.request.protocol == "https"

    @property
    def cookie_name(self) -> str:
        """The session cookie's name; it has the prefix `__Host-` over TLS."""
        return SECURE_SESSION_COOKIE if self.secure else SESSION_COOKIE

    @property
    def cookie_path(self) -> str:
        """The path of the session cookie; the prefix `__Host-` requires the root."""
        return "/" if self.secure else "/admin"

    @property
    def pages(self) -> PageTemplates:
        """The template renderer."""
        pages: PageTemplates = self.settings["pages"]
        return pages

    async def prepare(self) -> None:
        """Require a session, except for public pages; raise 403 for a cross-site form."""
        headers = self.request.headers
        if self.request.method == "POST" and not (
            "Sec-Fetch-Site" in headers or "Origin" in headers
        ):
            raise ApiError(403, "Submit this form from an admin page in a browser.")
        self.current_user = await self.logged_in()
        if self.is_public:
            return
        if self.current_user is None:
            self.redirect_to_login()
        elif self.current_user.has_initial_password and not self.allows_initial_password:
            self.redirect_to_account()

    async def logged_in(self) -> LoggedInUser | None:
        """Return the user of the session cookie; None without a valid session."""
        session_user: SessionLookup = self.settings["session_user"]
        for token in self.session_tokens():
            if (user := await session_user(token)) is not None:
                return user
        return None

    def session_tokens(self) -> list[str]:
        """Return the values of the session cookie, at most four.

        A browser sends several if another application on this host uses the same cookie name.
        """
        field = self.request.headers.get("Cookie", "")
        return [each for each in cookie_values(field, self.cookie_name) if each][:4]

    def redirect_to_login(self) -> None:
        """Redirect to the login page; raise 401 for a form."""
        if self.request.method not in ("GET", "HEAD"):
            raise ApiError(401, "Your session has ended. Log in and try again.")
        query = {} if self.request.path == "/admin/" else {"next": self.request.uri or ""}
        self.redirect("/admin/login" + (f"?{urlencode(query)}" if query else ""), status=303)

    def redirect_to_account(self) -> None:
        """Redirect to the password form; raise 403 for a form."""
        if self.request.method not in ("GET", "HEAD"):
            raise ApiError(403, "Change your generated password at /admin/account first.")
        self.redirect("/admin/account", status=303)

    def send_page(self, template: str, title: str, status: int = 200, **values: Any) -> None:
        """Send a page rendered from `templates/admin/`."""
        self.set_status(status)
        self.set_header(*HTML_CONTENT_TYPE)
        self.finish(self.page_html(template, title, **values))

    def page_html(self, template: str, title: str, **values: Any) -> bytes:
        """Return a template of `templates/admin/`, rendered with the page layout."""
        # Rendered separately: Tornado's loop variables would overwrite variables of the page.
        navigation = self.current_user and self.pages.render(
            "admin/navigation.html",
            current_user=self.current_user,
            navigation_links=NAVIGATION_LINKS,
            account_links=ACCOUNT_LINKS,
            path=self.request.path,
        )
        layout = {
            "title": title,
            "current_user": self.current_user,
            "navigation": navigation,
            "done": self.done_messages.get(self.text_argument("done") or ""),
            "formatting": formatting,
            "page_url": self.page_url,
        }
        return self.pages.render(f"admin/{template}", **{"error": "", **layout, **values})

    def render_error_page(self, status: int, detail: str) -> bytes:
        """Return the error page, with navigation for a logged-in user."""
        if self.current_user is None or self.current_user.has_initial_password:
            return super().render_error_page(status, detail)
        return self.page_html("error.html", reason_phrase(status), status=status, detail=detail)

    def text_argument(self, name: str) -> str | None:
        """Return a query argument without surrounding blanks; None if it is missing or empty."""
        return (super().text_argument(name) or "").strip() or None

    def page_url(self, **changes: object) -> str:
        """Return this page's URL with changed query arguments; None removes one."""
        query = dict(parse_qsl(self.request.query))
        query |= {name: "" if value is None else str(value) for name, value in changes.items()}
        query = {name: value for name, value in query.items() if value and name != "done"}
        return self.request.path + (f"?{urlencode(query)}" if query else "")

    def redirect_done(self, path: str, done_key: str = "") -> None:
        """Redirect after a form; the next page shows `done_messages[done_key]`."""
        separator = "&" if "?" in path else "?"
        self.redirect(f"{path}{separator}done={done_key}" if done_key else path, status=303)

    def form_text(self, name: str) -> str:
        """Return a form field without surrounding blanks; empty if it is missing."""
        return self.get_body_argument(name, "").strip()

    def form_checkbox(self, name: str) -> bool:
        """Return whether a checkbox of the form is checked."""
        return bool(self.get_body_argument(name, ""))

    def form_number(self, name: str) -> int:
        """Return a form field as an integer from 0; raise 422 if it is invalid."""
        text = self.form_text(name)
        if not (text.isascii() and text.isdigit() and len(text) < 19):
            raise ApiError(422, f"`{name}` must be a whole number.")
        return int(text)


class UnknownRouteHandler(AdminPage):
    """Responds 404 for unknown paths; below `/admin/` with the navigation."""

    body_methods = frozenset()

    async def prepare(self) -> None:
        """Find the user, whose navigation the error page shows, and raise 404."""
        if self.request.path.startswith("/admin/"):
            with contextlib.suppress(StoreError):
                self.current_user = await self.logged_in()
        raise ApiError(404, STATUS_DETAILS[404])

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Send 404 also for methods that Tornado rejects with 405 before `prepare`."""
        if status_code == 405:
            status_code = 404
            self.set_status(404)
        super().write_error(status_code, **kwargs)


def to_api_error(error: StoreError) -> ApiError:
    """Convert a store error to an error response: 422 if it was refused, else 503."""
    detail = as_sentence(error)
    if isinstance(error, StoreRefused):
        return ApiError(422, detail)
    return ApiError(
        503, f"{detail} Try again in a moment." if isinstance(error, StoreBusy) else detail
    )
