"""Login, logout and the creation of the first user."""

import asyncio
import hmac
import logging
from collections.abc import Callable
from time import monotonic

from domain.admin.login_throttle import LoginThrottle
from domain.admin.password_policy import MAX_PASSWORD_LENGTH as LONGEST_PASSWORD
from domain.admin.password_policy import password_problem
from domain.admin.user_names import normalize_password, normalize_user_name, user_name_key
from handlers.admin.admin_page import AdminPage
from handlers.common.base_handler import ApiError
from handlers.common.route import Route
from handlers.common.text import as_sentence
from store.api.errors import StoreBusy, StoreRefused
from store.sqlite.admin.login_sessions import MAX_SESSION_SECONDS, LoggedInUser, LoginSessions
from store.sqlite.admin.password_hashing import hash_password
from store.sqlite.admin.users import CreateUser
from store.sqlite.core.database import Database

LOG = logging.getLogger("marquee.admin")
INVALID_CREDENTIALS = "Invalid user name or password."
# Maximum characters; a decomposed password (Unicode NFD) is up to four times as long.
MAX_NAME_LENGTH, MAX_PASSWORD_LENGTH = 100, 4 * LONGEST_PASSWORD


class SetupInvitation:
    """The one-time link to create the first user; valid until it is used."""

    def __init__(self, token: str | None) -> None:
        """`token` is None if a user exists already."""
        self.token = token

    def matches(self, token: str) -> bool:
        """Return whether this is the link's token, in constant time."""
        return self.token is not None and hmac.compare_digest(self.token.encode(), token.encode())


def routes(
    database: Database, logins: LoginSessions, invitation: SetupInvitation, throttle: LoginThrottle
) -> list[Route]:
    """Return the routes of login, logout and setup."""
    parts = {"logins": logins, "invitation": invitation, "throttle": throttle}
    return [
        Route(r"/admin/login", AdminLoginPage, {**parts, "clock": monotonic}, "admin login"),
        Route(r"/admin/logout", AdminLogoutPage, {"logins": logins}, "admin logout"),
        Route(r"/admin/setup", AdminSetupPage, {**parts, "database": database}, "admin setup"),
    ]


class AdminLoginBasePage(AdminPage):
    """The base of the pages that start a session."""

    is_public = True

    async def start_session(
        self, logins: LoginSessions, throttle: LoginThrottle, user: LoggedInUser, next_url: str
    ) -> None:
        """Start a session, remember the client's address and redirect to `next_url`."""
        address = self.request.remote_ip or ""
        throttle.succeeded(user.name, address)
        for old_token in self.session_tokens():
            await logins.end_session(old_token)
        cookie = await logins.create_session(user, throttle.hashed(address))
        self.set_cookie(
            self.cookie_name,
            cookie,
            path=self.cookie_path,
            max_age=MAX_SESSION_SECONDS,
            httponly=True,
            samesite="Lax",
            secure=self.secure,
        )
        self.redirect_done(next_url)


class AdminLoginPage(AdminLoginBasePage):
    """`/admin/login`: log in."""

    done_messages = {"password": "The password is changed. Log in with the new password."}  # noqa: RUF012

    def initialize(
        self,
        logins: LoginSessions,
        invitation: SetupInvitation,
        throttle: LoginThrottle,
        clock: Callable[[], float],
    ) -> None:
        """Keep the parameters of `routes`; `clock` returns seconds for the throttle."""
        self._logins = logins
        self._invitation = invitation
        self._throttle = throttle
        self._clock = clock

    def get(self) -> None:
        """Send the form."""
        if self.current_user is not None:
            self.redirect_done(self._safe_next_url(self.text_argument("next") or ""))
            return
        self._send_form("", self.text_argument("next") or "")

    async def post(self) -> None:
        """Start a session; every invalid login gets the same response after the same time."""
        name = normalize_user_name(self.form_text("name")[: 4 * MAX_NAME_LENGTH])[:MAX_NAME_LENGTH]
        password = self.get_body_argument("password", "", False)
        address, next_url = self.request.remote_ip or "", self.form_text("next")
        wait = self._throttle.wait(name, address, self._clock())
        if wait > 0:
            self._send_retry_later(wait, next_url)
            return
        # Counted as failed before the check: parallel logins must not bypass the throttle.
        self._throttle.failed(name, address, self._clock())
        known = self._throttle.known(name, address) or (
            self.current_user is not None
            and user_name_key(self.current_user.name) == user_name_key(name)
        )
        try:
            # No password is this long. An empty one is checked instead, which takes as long.
            checked = password if len(password) <= MAX_PASSWORD_LENGTH else ""
            user = await self._logins.authenticate(name, checked, known_client=known)
        except StoreBusy:
            self._send_retry_later(1.0, next_url)
            return
        if user is None:
            LOG.warning("login failed address=%s", address)
            self._send_form(INVALID_CREDENTIALS, next_url, 422)
            return
        await self.start_session(self._logins, self._throttle, user, self._safe_next_url(next_url))

    def _send_retry_later(self, wait: float, next_url: str) -> None:
        seconds = int(wait) + 1
        self.set_header("Retry-After", str(seconds))
        error = f"Too many failed logins. Try again in {seconds} s."
        self._send_form(error, next_url, 429)

    def _send_form(self, error: str, next_url: str, status: int = 200) -> None:
        self.send_page(
            "login.html",
            "Log in",
            status,
            error=error,
            next_url=next_url,
            has_users=self._invitation.token is None,
        )

    def _safe_next_url(self, next_url: str) -> str:
        """Return `next_url` if it is an admin page, else the overview: no open redirect."""
        plain = next_url.isascii() and next_url.isprintable() and "\\" not in next_url
        return next_url if plain and next_url.startswith("/admin/") else "/admin/"


class AdminLogoutPage(AdminPage):
    """`/admin/logout`: log out."""

    is_public = True

    def initialize(self, logins: LoginSessions) -> None:
        """Keep `logins`, which holds the sessions."""
        self._logins = logins

    async def post(self) -> None:
        """End the session and clear the browser cache."""
        for token in self.session_tokens():
            await self._logins.end_session(token)
        self.clear_cookie(self.cookie_name, path=self.cookie_path, secure=self.secure)
        self.set_header("Clear-Site-Data", '"cache"')
        self.redirect_done("/admin/login")


class AdminSetupPage(AdminLoginBasePage):
    """`/admin/setup?token=`: create the first user with the link from the terminal."""

    def initialize(
        self,
        database: Database,
        logins: LoginSessions,
        invitation: SetupInvitation,
        throttle: LoginThrottle,
    ) -> None:
        """Keep the parameters of `routes`."""
        self._database = database
        self._throttle = throttle
        self._logins = logins
        self._invitation = invitation

    def get(self) -> None:
        """Send the form."""
        self._require_token(self.text_argument("token") or "")
        self._send_form("")

    async def post(self) -> None:
        """Create the user and start a session."""
        self._require_token(self.form_text("token"))
        name, password = self.form_text("name"), self.get_body_argument("password", "", False)
        if normalize_password(password) != normalize_password(
            self.get_body_argument("again", "", False)
        ):
            self._send_form("The passwords do not match.", name)
            return
        if (problem := await asyncio.to_thread(password_problem, password, name)) is not None:
            self._send_form(as_sentence(problem), name)
            return
        password_hash = await asyncio.to_thread(hash_password, password)
        try:
            user = await CreateUser(name, password_hash, first=True, by=name).run(self._database)
        except StoreRefused as error:
            self._send_form(as_sentence(error), name)
            return
        self._invitation.token = None
        logged_in = LoggedInUser(user.id, user.name, False)
        await self.start_session(self._logins, self._throttle, logged_in, "/admin/")

    def _require_token(self, token: str) -> None:
        if not self._invitation.matches(token):
            detail = "This link was used or replaced. Open the newest link from the terminal."
            raise ApiError(404, detail)

    def _send_form(self, error: str, name: str = "owner") -> None:
        token = self._invitation.token
        status = 422 if error else 200
        self.send_page("setup.html", "Welcome", status, error=error, name=name, token=token)
