"""Users, the password of the current user, and the audit log."""

import asyncio
from time import monotonic
from typing import Any

from domain.admin.login_throttle import LoginThrottle
from domain.admin.password_policy import password_problem
from domain.admin.user_names import normalize_password, user_name_key
from handlers.admin.admin_page import AdminPage, to_api_error
from handlers.common.route import Route
from handlers.common.text import as_sentence
from store.api.errors import StoreError
from store.sqlite.admin.login_sessions import LoginSessions
from store.sqlite.admin.password_hashing import generate_password, hash_password
from store.sqlite.admin.users import CreateUser, ListUsers, RemoveUser, SetPassword
from store.sqlite.core.audit_log import list_audit_entries
from store.sqlite.core.database import Database

AUDIT_ENTRIES_PER_PAGE = 50


def routes(database: Database, logins: LoginSessions, throttle: LoginThrottle) -> list[Route]:
    """Return the routes of users, account and audit log."""
    parts = {"database": database}
    return [
        Route(r"/admin/users", AdminUsersPage, parts, "admin users"),
        Route(r"/admin/users/remove", AdminUserRemovePage, parts, "admin user removal"),
        Route(
            r"/admin/account",
            AdminAccountPage,
            {**parts, "logins": logins, "throttle": throttle},
            "admin account",
        ),
        Route(r"/admin/audit", AdminAuditPage, parts, "admin audit log"),
    ]


class AdminUsersPage(AdminPage):
    """`/admin/users`: list users and create one."""

    done_messages = {"removed": "The user is removed, and all its sessions have ended."}  # noqa: RUF012

    def initialize(self, database: Database) -> None:
        """Keep `database`, which holds the users."""
        self.database = database

    async def get(self) -> None:
        """Send the list."""
        await self.send_list()

    async def post(self) -> None:
        """Create a user with a generated password and show it once."""
        password = generate_password()
        password_hash = await asyncio.to_thread(hash_password, password)
        try:
            command = CreateUser(
                self.form_text("name"), password_hash, generated=True, by=self.actor
            )
            new_user = await command.run(self.database)
        except StoreError as error:
            api_error = to_api_error(error)
            await self.send_list(api_error.status_code, error=api_error.detail)
            return
        await self.send_list(new_user=new_user, password=password)

    async def send_list(self, status: int = 200, **values: Any) -> None:
        """Send the list; `values` are added to its template's values."""
        users = await ListUsers().run(self.database)
        self.send_page("users.html", "Users", status, users=users, **{"new_user": None, **values})


class AdminUserRemovePage(AdminPage):
    """`/admin/users/remove?name=`: remove a user after a confirmation."""

    def initialize(self, database: Database) -> None:
        """Keep `database`, which holds the users."""
        self.database = database

    def get(self) -> None:
        """Send the confirmation page."""
        self.send_page("remove_user.html", "Remove user", name=self.text_argument("name") or "")

    async def post(self) -> None:
        """Remove the user; users cannot remove themselves, so at least one remains."""
        name = self.form_text("name")
        if user_name_key(name) == user_name_key(self.actor):
            error = "You cannot remove yourself. Another user can do so."
            self.send_page("remove_user.html", "Remove user", 422, name=name, error=error)
            return
        try:
            await RemoveUser(name, by=self.actor).run(self.database)
        except StoreError as store_error:
            raise to_api_error(store_error) from None
        self.redirect_done("/admin/users", "removed")


class AdminAccountPage(AdminPage):
    """`/admin/account`: change your own password."""

    allows_initial_password = True

    def initialize(
        self, database: Database, logins: LoginSessions, throttle: LoginThrottle
    ) -> None:
        """Keep the parameters of `routes`."""
        self.database = database
        self.logins = logins
        self.throttle = throttle

    def get(self) -> None:
        """Send the form."""
        self.send_page("account.html", "Your password")

    async def post(self) -> None:
        """Set the password; all sessions of the user end, including this one."""
        assert self.current_user is not None
        old, new = (self.get_body_argument(name, "", False) for name in ("old", "new"))
        problem = await asyncio.to_thread(password_problem, new, self.current_user.name)
        if normalize_password(new) == normalize_password(old):
            problem = "the new password is the old one"
        if normalize_password(new) != normalize_password(
            self.get_body_argument("again", "", False)
        ):
            problem = "the new passwords do not match"
        try:
            if problem is None and not await self.check_old_password(self.current_user.name, old):
                problem = "the old password is incorrect, or there were too many failed attempts"
            if problem is not None:
                error = as_sentence(problem)
                self.send_page("account.html", "Your password", 422, error=error)
                return
            password_hash = await asyncio.to_thread(hash_password, new)
            await SetPassword(self.current_user.name, password_hash, by=self.actor).run(
                self.database
            )
        except StoreError as store_error:
            raise to_api_error(store_error) from None
        self.redirect_done("/admin/login", "password")

    async def check_old_password(self, name: str, password: str) -> bool:
        """Return whether this is the old password; throttled like a login."""
        address, now = self.request.remote_ip or "", monotonic()
        if self.throttle.wait(name, address, now) > 0:
            return False
        self.throttle.failed(name, address, now)
        if await self.logins.authenticate(name, password, known_client=True) is None:
            return False
        self.throttle.succeeded(name, address)
        return True


class AdminAuditPage(AdminPage):
    """`/admin/audit`: the audit log, of all users or of one."""

    def initialize(self, database: Database) -> None:
        """Keep `database`, which holds the audit log."""
        self.database = database

    async def get(self) -> None:
        """Send a page of entries, newest first."""
        found, more = await list_audit_entries(
            self.database,
            who=self.text_argument("who") or None,
            before=self.int_argument("before"),
            limit=AUDIT_ENTRIES_PER_PAGE,
        )
        next_page_url = None if more is None else self.page_url(before=more)
        self.send_page(
            "audit_log.html",
            "Audit log",
            entries=found,
            who=self.text_argument("who"),
            next_page_url=next_page_url,
        )
