"""Who may be here, and what they changed."""

import asyncio
from time import monotonic
from typing import Any

from domain.admin.login_throttle import LoginThrottle
from domain.admin.password_policy import password_problem
from domain.admin.user_names import normalize_password, user_name_key
from handlers.admin.admin_page import AdminPage, store_error_refusal
from handlers.common.route import Route
from store.api.errors import StoreError
from store.sqlite.admin.login_sessions import LoginSessions
from store.sqlite.admin.password_hashing import generate_password, hash_password
from store.sqlite.admin.users import CreateUser, ListUsers, RemoveUser, SetPassword
from store.sqlite.core.audit_log import list_audit_entries
from store.sqlite.core.database import Database

AUDIT_ENTRIES_PER_PAGE = 50


def routes(database: Database, logins: LoginSessions, attempts: LoginThrottle) -> list[Route]:
    """Where these are; `attempts` are the wrong passwords so far."""
    parts = {"database": database}
    return [
        Route(r"/admin/users", AdminUsersPage, parts, "admin users"),
        Route(r"/admin/users/remove", AdminUserRemovePage, parts, "admin user removal"),
        Route(
            r"/admin/account",
            AdminAccountPage,
            {**parts, "logins": logins, "attempts": attempts},
            "admin account",
        ),
        Route(r"/admin/audit", AdminAuditPage, parts, "admin audit log"),
    ]


class AdminUsersPage(AdminPage):
    """`/admin/users`: all of them, and a new one."""

    deeds = {"removed": "The user is gone, and logged out everywhere."}  # noqa: RUF012

    def initialize(self, database: Database) -> None:
        """`database` holds them."""
        self.database = database

    async def get(self) -> None:
        """The list."""
        await self.list()

    async def post(self) -> None:
        """Make one, with a password that is shown once."""
        password = generate_password()
        kept = await asyncio.to_thread(hash_password, password)
        try:
            command = CreateUser(self.said("name"), kept, given=True, by=self.by)
            made = await command.run(self.database)
        except StoreError as error:
            refusal = store_error_refusal(error)
            await self.list(refusal.status_code, wrong=refusal.detail)
            return
        await self.list(made=made, password=password)

    async def list(self, status: int = 200, **more: Any) -> None:
        """Answer with the list, and `more`."""
        users = await ListUsers().run(self.database)
        self.show("users.html", "Users", status, users=users, **{"made": None, **more})


class AdminUserRemovePage(AdminPage):
    """`/admin/users/remove?name=`: asks once more."""

    def initialize(self, database: Database) -> None:
        """`database` holds them."""
        self.database = database

    def get(self) -> None:
        """The question."""
        self.show("remove_user.html", "Remove a user", name=self.text_argument("name") or "")

    async def post(self) -> None:
        """Remove the user; nobody removes themselves, so one is left."""
        name = self.said("name")
        if user_name_key(name) == user_name_key(self.by):
            words = "You cannot remove yourself; another user can."
            self.show("remove_user.html", "Remove a user", 422, name=name, wrong=words)
            return
        try:
            await RemoveUser(name, by=self.by).run(self.database)
        except StoreError as error:
            raise store_error_refusal(error) from None
        self.done("/admin/users", "removed")


class AdminAccountPage(AdminPage):
    """`/admin/account`: one's own password."""

    for_given = True

    def initialize(
        self, database: Database, logins: LoginSessions, attempts: LoginThrottle
    ) -> None:
        """`logins` know the old password; wrong ones are among the `attempts`."""
        self.database = database
        self.logins = logins
        self.attempts = attempts

    def get(self) -> None:
        """The form."""
        self.show("account.html", "Your password")

    async def post(self) -> None:
        """Set it; all sessions of the user end, this one too."""
        assert self.owner is not None
        old, new = (self.get_body_argument(name, "", False) for name in ("old", "new"))
        wrong = await asyncio.to_thread(password_problem, new, self.owner.name)
        if normalize_password(new) == normalize_password(old):
            wrong = "the new password is the old one"
        if normalize_password(new) != normalize_password(
            self.get_body_argument("again", "", False)
        ):
            wrong = "the two new passwords are not the same"
        try:
            if wrong is None and not await self.knows(self.owner.name, old):
                wrong = "the old password is another one, or there were too many wrong ones of late"
            if wrong is not None:
                words = f"{wrong[:1].upper()}{wrong[1:]}."
                self.show("account.html", "Your password", 422, wrong=words)
                return
            kept = await asyncio.to_thread(hash_password, new)
            await SetPassword(self.owner.name, kept, by=self.by).run(self.database)
        except StoreError as error:
            raise store_error_refusal(error) from None
        self.done("/admin/login", "password")

    async def knows(self, name: str, password: str) -> bool:
        """Whether this is the old password; who guesses has to wait, as for a login."""
        address, now = self.request.remote_ip or "", monotonic()
        if self.attempts.wait(name, address, now) > 0:
            return False
        self.attempts.failed(name, address, now)
        if await self.logins.check(name, password, known=True) is None:
            return False
        self.attempts.succeeded(name, address)
        return True


class AdminAuditPage(AdminPage):
    """`/admin/audit`: what owners changed."""

    def initialize(self, database: Database) -> None:
        """`database` holds it."""
        self.database = database

    async def get(self) -> None:
        """A page of it, newest first."""
        found, more = await list_audit_entries(
            self.database,
            who=self.text_argument("who") or None,
            before=self.int_argument("before"),
            limit=AUDIT_ENTRIES_PER_PAGE,
        )
        further = None if more is None else self.query(before=more)
        self.show(
            "audit_log.html",
            "Changes",
            entries=found,
            who=self.text_argument("who"),
            further=further,
        )
