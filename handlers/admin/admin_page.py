"""What every page of the owner's has: who is logged in, its frame, and its forms' safety."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

from domain.common import formatting
from handlers.common.api_handler import ApiHandler
from handlers.common.base_handler import STATUS_DETAILS, ApiError
from handlers.common.responses import HTML_CONTENT_TYPE, PageTemplates, reason_phrase
from httpserver import cookie_values
from store.api.errors import StoreBusy, StoreError, StoreRefused
from store.sqlite.admin.login_sessions import LoggedInUser

# Over TLS a browser takes a cookie of this name only from this very host, over TLS, for all of its
# paths (RFC 6265bis, 4.1.3.2): neither a sibling domain nor plain HTTP can plant one.
SESSION_COOKIE, SECURE_SESSION_COOKIE = "mq_owner", "__Host-mq_owner"
# What is shown after something was done: a page says it by the name in its address.
SessionLookup = Callable[[str], Awaitable[LoggedInUser | None]]
# What stands in the navigation: (address, words).
NAVIGATION_LINKS = (
    ("/admin/", "Overview"),
    ("/admin/campaigns", "Campaigns"),
    ("/admin/stories", "Stories"),
    ("/admin/events", "Events"),
    ("/admin/schemas", "Event rules"),
    ("/admin/rejected-events", "Rejects"),
    ("/admin/audience", "Audience"),
    ("/admin/apps", "Apps"),
    ("/admin/health", "Health"),
)
ACCOUNT_LINKS = (("/admin/users", "Users"), ("/admin/audit", "Changes"))


class AdminPage(ApiHandler):
    """The base of the owner's pages; `settings` carry `pages` and `owner`.

    Every form is a POST, which needs to come from a page of ours: the cookie is `SameSite=Lax`,
    and the application's `cross_origin_protection` looks at `Sec-Fetch-Site` and `Origin`. Every
    browser sends at least one of them with a form, also with scripts off.
    """

    # Whether it is for anyone, logged in or not.
    open = False
    # Whether it is also for who still has the password that was made up for them.
    for_given = False
    # What its address may say was done, in words.
    deeds: dict[str, str] = {}  # noqa: RUF012
    owner: LoggedInUser | None = None

    @property
    def by(self) -> str:
        """Who stands in the list of what was changed."""
        return self.owner.name if self.owner else ""

    @property
    def secure(self) -> bool:
        """Whether the browser came over TLS."""
        return self.request.protocol == "https"

    @property
    def cookie_name(self) -> str:
        """The name of the session's cookie."""
        return SECURE_SESSION_COOKIE if self.secure else SESSION_COOKIE

    @property
    def cookie_path(self) -> str:
        """The path of the session cookie; the prefix `__Host-` requires the root."""
        return "/" if self.secure else "/admin"

    @property
    def pages(self) -> PageTemplates:
        """What makes pages."""
        pages: PageTemplates = self.settings["pages"]
        return pages

    async def prepare(self) -> None:
        """Let in who is logged in."""
        headers = self.request.headers
        if self.request.method == "POST" and not (
            "Sec-Fetch-Site" in headers or "Origin" in headers
        ):
            raise ApiError(403, "A form is sent from one of these pages, by a browser.")
        self.owner = await self.logged_in()
        if self.open:
            return
        if self.owner is None:
            self.turn_away()
        elif self.owner.given and not self.for_given:
            self.choose_first()

    async def logged_in(self) -> LoggedInUser | None:
        """Return the owner of the session in the cookie; None without a valid session."""
        who: SessionLookup = self.settings["owner"]
        for token in self.session_tokens():
            if (owner := await who(token)) is not None:
                return owner
        return None

    def session_tokens(self) -> list[str]:
        """Return the values of the session cookie, at most four.

        A browser sends several if another application on this host uses the same name.
        """
        field = self.request.headers.get("Cookie", "")
        return [each for each in cookie_values(field, self.cookie_name) if each][:4]

    def turn_away(self) -> None:
        """Send a visitor who is not logged in to do so."""
        if self.request.method not in ("GET", "HEAD"):
            raise ApiError(401, "You are not logged in any more: log in, and do it again.")
        query = {} if self.request.path == "/admin/" else {"next": self.request.uri or ""}
        self.redirect("/admin/login" + (f"?{urlencode(query)}" if query else ""), status=303)

    def choose_first(self) -> None:
        """Have who came with a password that was made up for them choose their own."""
        if self.request.method not in ("GET", "HEAD"):
            raise ApiError(403, "Choose a password of your own first, at /admin/account.")
        self.redirect("/admin/account", status=303)

    def show(self, template: str, title: str, status: int = 200, **values: Any) -> None:
        """Answer with a page of `templates/admin/`."""
        self.set_status(status)
        self.set_header(*HTML_CONTENT_TYPE)
        self.finish(self.page(template, title, **values))

    def page(self, template: str, title: str, **values: Any) -> bytes:
        """The page's bytes."""
        # A separate template: its loop variables would overwrite variables of the page.
        navigation = self.owner and self.pages.render(
            "admin/navigation.html",
            owner=self.owner,
            places=NAVIGATION_LINKS,
            about=ACCOUNT_LINKS,
            path=self.request.path,
        )
        frame = {
            "title": title,
            "owner": self.owner,
            "navigation": navigation,
            "done": self.deeds.get(self.text_argument("done") or ""),
            "formatting": formatting,
            "query": self.query,
        }
        return self.pages.render(f"admin/{template}", **{"wrong": "", **frame, **values})

    def render_error_page(self, status: int, detail: str) -> bytes:
        """Return the error page, with navigation for a logged-in owner."""
        if self.owner is None or self.owner.given:
            return super().render_error_page(status, detail)
        return self.page("error.html", reason_phrase(status), status=status, detail=detail)

    def text_argument(self, name: str) -> str | None:
        """A text argument; None if there is none, or it was left empty in a form."""
        return (super().text_argument(name) or "").strip() or None

    def query(self, **changes: object) -> str:
        """This page's address with other arguments; None leaves one out, empty ones go."""
        said = dict(parse_qsl(self.request.query))
        said |= {name: "" if value is None else str(value) for name, value in changes.items()}
        said = {name: value for name, value in said.items() if value and name != "done"}
        return self.request.path + (f"?{urlencode(said)}" if said else "")

    def done(self, path: str, deed: str = "") -> None:
        """Lead on to a page, which says what was done."""
        self.redirect(
            f"{path}{'&' if '?' in path else '?'}done={deed}" if deed else path, status=303
        )

    def said(self, name: str) -> str:
        """A form's field, without blanks around it."""
        return self.get_body_argument(name, "").strip()

    def ticked(self, name: str) -> bool:
        """Whether a form's box is ticked."""
        return bool(self.get_body_argument(name, ""))

    def whole(self, name: str) -> int:
        """A whole number of a form's field; raises 422."""
        said = self.said(name)
        if not (said.isascii() and said.isdigit() and len(said) < 19):
            raise ApiError(422, f"`{name}` is not a whole number.")
        return int(said)


class UnknownRouteHandler(AdminPage):
    """Answers 404 for addresses without a route; below `/admin/` with the navigation."""

    body_methods = frozenset()

    async def prepare(self) -> None:
        """Raise 404, once the owner is known."""
        if self.request.path.startswith("/admin/"):
            with contextlib.suppress(StoreError):
                self.owner = await self.logged_in()
        raise ApiError(404, STATUS_DETAILS[404])

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer 404 also to methods that Tornado refuses (405) before `prepare`."""
        if status_code == 405:
            status_code = 404
            self.set_status(404)
        super().write_error(status_code, **kwargs)


def store_error_refusal(error: StoreError) -> ApiError:
    """The refusal that a store's error comes to."""
    if isinstance(error, StoreRefused):
        return ApiError(422, f"{_capitalize(error)}.")
    return (
        ApiError(503, f"{_capitalize(error)}. Try again in a moment.")
        if isinstance(error, StoreBusy)
        else ApiError(503, f"{_capitalize(error)}.")
    )


def _capitalize(error: StoreError) -> str:
    said = str(error)
    return said[:1].upper() + said[1:]
