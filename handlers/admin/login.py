"""Logging in and out, and the first user."""

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
from store.api.errors import StoreBusy, StoreRefused
from store.sqlite.admin.login_sessions import MAX_SESSION_SECONDS, LoggedInUser, LoginSessions
from store.sqlite.admin.password_hashing import hash_password
from store.sqlite.admin.users import CreateUser
from store.sqlite.core.database import Database

LOG = logging.getLogger("marquee.admin")
WRONG_CREDENTIALS = "This is not the name and password of a user."
# Maximum characters; a password may be sent decomposed, which is up to four times as long.
MAX_NAME_LENGTH, MAX_PASSWORD_LENGTH = 100, 4 * LONGEST_PASSWORD


class SetupInvitation:
    """The one-time link by which the first user is made; valid until used."""

    def __init__(self, token: str | None) -> None:
        """None if there is a user already."""
        self.token = token

    def takes(self, said: str) -> bool:
        """Whether this is the link's token."""
        return self.token is not None and hmac.compare_digest(self.token.encode(), said.encode())


def routes(
    database: Database, logins: LoginSessions, invitation: SetupInvitation, attempts: LoginThrottle
) -> list[Route]:
    """Where these are; `attempts` are the wrong ones so far."""
    parts = {"logins": logins, "invitation": invitation, "attempts": attempts}
    return [
        Route(r"/admin/login", AdminLoginPage, {**parts, "clock": monotonic}, "admin login"),
        Route(r"/admin/logout", AdminLogoutPage, {"logins": logins}, "admin logout"),
        Route(r"/admin/setup", AdminSetupPage, {**parts, "database": database}, "admin setup"),
    ]


class AdminLoginBasePage(AdminPage):
    """The base of what begins a session."""

    open = True

    async def enter(
        self, logins: LoginSessions, attempts: LoginThrottle, owner: LoggedInUser, where: str
    ) -> None:
        """Begin a session and lead on; the client's address is known from now on."""
        address = self.request.remote_ip or ""
        attempts.succeeded(owner.name, address)
        for before in self.session_tokens():
            await logins.end(before)
        cookie = await logins.begin(owner, attempts.hashed(address))
        self.set_cookie(
            self.cookie_name,
            cookie,
            path=self.cookie_path,
            max_age=MAX_SESSION_SECONDS,
            httponly=True,
            samesite="Lax",
            secure=self.secure,
        )
        self.done(where)


class AdminLoginPage(AdminLoginBasePage):
    """`/admin/login`."""

    deeds = {"password": "The new password holds. Log in with it."}  # noqa: RUF012

    def initialize(
        self,
        logins: LoginSessions,
        invitation: SetupInvitation,
        attempts: LoginThrottle,
        clock: Callable[[], float],
    ) -> None:
        """`attempts` are the wrong ones so far, by `clock` (seconds)."""
        self._logins = logins
        self._invitation = invitation
        self._attempts = attempts
        self._clock = clock

    def get(self) -> None:
        """The form."""
        if self.owner is not None:
            self.done(self._next(self.text_argument("next") or ""))
            return
        self._form("", self.text_argument("next") or "")

    async def post(self) -> None:
        """Begin a session; the same words and the same time for all that is wrong."""
        name = normalize_user_name(self.said("name")[: 4 * MAX_NAME_LENGTH])[:MAX_NAME_LENGTH]
        password = self.get_body_argument("password", "", False)
        address, wanted = self.request.remote_ip or "", self.said("next")
        wait = self._attempts.wait(name, address, self._clock())
        if wait > 0:
            self._later(wait, wanted)
            return
        # It counts as wrong until it proves right: many at once are no way around the wait.
        self._attempts.failed(name, address, self._clock())
        known = self._attempts.known(name, address) or (
            self.owner is not None and user_name_key(self.owner.name) == user_name_key(name)
        )
        try:
            # One that is too long is nobody's: it is not cut short, and takes as long.
            checked = password if len(password) <= MAX_PASSWORD_LENGTH else ""
            owner = await self._logins.check(name, checked, known=known)
        except StoreBusy:
            self._later(1.0, wanted)
            return
        if owner is None:
            LOG.warning("a wrong name or password came from %s", address)
            self._form(WRONG_CREDENTIALS, wanted, 422)
            return
        await self.enter(self._logins, self._attempts, owner, self._next(wanted))

    def _later(self, wait: float, wanted: str) -> None:
        seconds = int(wait) + 1
        self.set_header("Retry-After", str(seconds))
        words = f"There were too many wrong ones. Try again in {seconds} s."
        self._form(words, wanted, 429)

    def _form(self, wrong: str, wanted: str, status: int = 200) -> None:
        nobody = self._invitation.token is not None
        self.show("login.html", "Log in", status, wrong=wrong, next=wanted, nobody=nobody)

    def _next(self, wanted: str) -> str:
        """Where to go on: a page of ours, whatever was asked for."""
        plain = wanted.isascii() and wanted.isprintable() and "\\" not in wanted
        return wanted if plain and wanted.startswith("/admin/") else "/admin/"


class AdminLogoutPage(AdminPage):
    """`/admin/logout`."""

    open = True

    def initialize(self, logins: LoginSessions) -> None:
        """`logins` hold the session."""
        self._logins = logins

    async def post(self) -> None:
        """End the session, at once."""
        for token in self.session_tokens():
            await self._logins.end(token)
        self.clear_cookie(self.cookie_name, path=self.cookie_path, secure=self.secure)
        self.set_header("Clear-Site-Data", '"cache"')
        self.done("/admin/login")


class AdminSetupPage(AdminLoginBasePage):
    """`/admin/setup?token=`: the first user is made here, by who has seen the terminal."""

    def initialize(
        self,
        database: Database,
        logins: LoginSessions,
        invitation: SetupInvitation,
        attempts: LoginThrottle,
    ) -> None:
        """`invitation` is the link's."""
        self._database = database
        self._attempts = attempts
        self._logins = logins
        self._invitation = invitation

    def get(self) -> None:
        """The form."""
        self._check(self.text_argument("token") or "")
        self._form("")

    async def post(self) -> None:
        """Make the user, and begin a session."""
        self._check(self.said("token"))
        name, password = self.said("name"), self.get_body_argument("password", "", False)
        if normalize_password(password) != normalize_password(
            self.get_body_argument("again", "", False)
        ):
            self._form("The two passwords are not the same.", name)
            return
        if (wrong := await asyncio.to_thread(password_problem, password, name)) is not None:
            self._form(f"{wrong[:1].upper()}{wrong[1:]}.", name)
            return
        kept = await asyncio.to_thread(hash_password, password)
        try:
            user = await CreateUser(name, kept, first=True, by=name).run(self._database)
        except StoreRefused as error:
            self._form(f"{str(error)[:1].upper()}{str(error)[1:]}.", name)
            return
        self._invitation.token = None
        owner = LoggedInUser(user.id, user.name, False)
        await self.enter(self._logins, self._attempts, owner, "/admin/")

    def _check(self, token: str) -> None:
        if not self._invitation.takes(token):
            words = "This link was used, or is not the one that the terminal named last."
            raise ApiError(404, words)

    def _form(self, wrong: str, name: str = "owner") -> None:
        token = self._invitation.token
        status = 422 if wrong else 200
        self.show("setup.html", "Welcome", status, wrong=wrong, name=name, token=token)
