"""Logging in and out, and the first user."""

import asyncio
import hmac
import logging
from collections.abc import Callable
from time import monotonic
from typing import Any

from handlers.admin.page import Page
from handlers.base import Refusal
from rules.attempts import Attempts
from rules.password import LONGEST as LONGEST_PASSWORD
from rules.password import fault
from rules.user_names import key, prepared, stored
from store.database import Database
from store.errors import StoreBusy, StoreRefused
from store.logins import LONGEST, Logins, Owner
from store.passwords import digest
from store.users import CreateUser

LOG = logging.getLogger("marquee.admin")
WRONG = "This is not the name and password of a user."
# Maximum characters; a password may be sent decomposed, which is up to four times as long.
NAME, PASSWORD = 100, 4 * LONGEST_PASSWORD


class Invitation:
    """The one-time link by which the first user is made; valid until used."""

    def __init__(self, token: str | None) -> None:
        """None if there is a user already."""
        self.token = token

    def takes(self, said: str) -> bool:
        """Whether this is the link's token."""
        return self.token is not None and hmac.compare_digest(self.token.encode(), said.encode())


def routes(
    database: Database, logins: Logins, invitation: Invitation, attempts: Attempts
) -> list[Any]:
    """Where these are; `attempts` are the wrong ones so far."""
    parts = {"logins": logins, "invitation": invitation, "attempts": attempts}
    return [
        (r"/admin/login", Login, {**parts, "clock": monotonic}),
        (r"/admin/logout", Logout, {"logins": logins}),
        (r"/admin/setup", Setup, {**parts, "database": database}),
    ]


class Entering(Page):
    """The base of what begins a session."""

    open = True

    async def enter(self, logins: Logins, attempts: Attempts, owner: Owner, where: str) -> None:
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
            max_age=LONGEST,
            httponly=True,
            samesite="Lax",
            secure=self.secure,
        )
        self.done(where)


class Login(Entering):
    """`/admin/login`."""

    deeds = {"password": "The new password holds. Log in with it."}  # noqa: RUF012

    def initialize(
        self,
        logins: Logins,
        invitation: Invitation,
        attempts: Attempts,
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
            self.done(self._next(self.word("next") or ""))
            return
        self._form("", self.word("next") or "")

    async def post(self) -> None:
        """Begin a session; the same words and the same time for all that is wrong."""
        name = stored(self.said("name")[: 4 * NAME])[:NAME]
        password = self.get_body_argument("password", "", False)
        address, wanted = self.request.remote_ip or "", self.said("next")
        wait = self._attempts.wait(name, address, self._clock())
        if wait > 0:
            self._later(wait, wanted)
            return
        # It counts as wrong until it proves right: many at once are no way around the wait.
        self._attempts.failed(name, address, self._clock())
        known = self._attempts.known(name, address) or (
            self.owner is not None and key(self.owner.name) == key(name)
        )
        try:
            # One that is too long is nobody's: it is not cut short, and takes as long.
            checked = password if len(password) <= PASSWORD else ""
            owner = await self._logins.check(name, checked, known=known)
        except StoreBusy:
            self._later(1.0, wanted)
            return
        if owner is None:
            LOG.warning("a wrong name or password came from %s", address)
            self._form(WRONG, wanted, 422)
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


class Logout(Page):
    """`/admin/logout`."""

    open = True

    def initialize(self, logins: Logins) -> None:
        """`logins` hold the session."""
        self._logins = logins

    async def post(self) -> None:
        """End the session, at once."""
        for token in self.session_tokens():
            await self._logins.end(token)
        self.clear_cookie(self.cookie_name, path=self.cookie_path, secure=self.secure)
        self.set_header("Clear-Site-Data", '"cache"')
        self.done("/admin/login")


class Setup(Entering):
    """`/admin/setup?token=`: the first user is made here, by who has seen the terminal."""

    def initialize(
        self, database: Database, logins: Logins, invitation: Invitation, attempts: Attempts
    ) -> None:
        """`invitation` is the link's."""
        self._database = database
        self._attempts = attempts
        self._logins = logins
        self._invitation = invitation

    def get(self) -> None:
        """The form."""
        self._check(self.word("token") or "")
        self._form("")

    async def post(self) -> None:
        """Make the user, and begin a session."""
        self._check(self.said("token"))
        name, password = self.said("name"), self.get_body_argument("password", "", False)
        if prepared(password) != prepared(self.get_body_argument("again", "", False)):
            self._form("The two passwords are not the same.", name)
            return
        if (wrong := await asyncio.to_thread(fault, password, name)) is not None:
            self._form(f"{wrong[:1].upper()}{wrong[1:]}.", name)
            return
        kept = await asyncio.to_thread(digest, password)
        try:
            user = await CreateUser(name, kept, first=True, by=name).run(self._database)
        except StoreRefused as error:
            self._form(f"{str(error)[:1].upper()}{str(error)[1:]}.", name)
            return
        self._invitation.token = None
        owner = Owner(user.id, user.name, False)
        await self.enter(self._logins, self._attempts, owner, "/admin/")

    def _check(self, token: str) -> None:
        if not self._invitation.takes(token):
            words = "This link was used, or is not the one that the terminal named last."
            raise Refusal(404, words)

    def _form(self, wrong: str, name: str = "owner") -> None:
        token = self._invitation.token
        status = 422 if wrong else 200
        self.show("setup.html", "Welcome", status, wrong=wrong, name=name, token=token)
