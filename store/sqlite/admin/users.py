"""Users of the admin pages, who may see and change everything; passwords arrive as digests."""

import re
import sqlite3
from dataclasses import dataclass
from time import time_ns

from domain.admin.user_names import normalize_user_name, user_name_key
from domain.common.formatting import format_count
from store.api.errors import StoreRefused
from store.sqlite.core.audit_log import write_audit_entry
from store.sqlite.core.command import AdminCommand
from store.sqlite.core.database import Database
from store.sqlite.core.paging import TableScan, read_all_rows

USER_NAME_PATTERN = re.compile(r"[\w.@+-]{1,100}")


@dataclass(frozen=True)
class User:
    """A user; times are microseconds since 1970, `seen_at` is the last login."""

    id: int
    name: str
    created_at: int
    seen_at: int | None


class CreateUser(AdminCommand[User], frozen=True):
    """Create a user; with `first`, only while no user exists."""

    name: str
    digest: str
    first: bool = False
    generated: bool = False  # a generated password, which the user has to replace

    async def run(self, database: Database) -> User:
        """Return the user; raise `StoreRefused` if the name is taken or invalid."""
        name = normalize_user_name(self.name)
        if not USER_NAME_PATTERN.fullmatch(name):
            raise StoreRefused(
                f"invalid user name {name[:100]!r}: must have 1 to 100 letters, digits "
                "and . _ @ + -"
            )

        def job(connection: sqlite3.Connection) -> User:
            if self.first and connection.execute("SELECT 1 FROM user LIMIT 1").fetchone():
                raise StoreRefused("a user exists already: log in")
            if (taken := find_user(connection, name)) is not None:
                raise StoreRefused(f"user {taken.name!r} exists already")
            at = time_ns() // 1000
            sql = "INSERT INTO user (name, digest, created_at, given_at) VALUES (?, ?, ?, ?)"
            row = (name, self.digest, at, at * self.generated)
            user_id = connection.execute(sql, row).lastrowid
            assert user_id is not None
            about = f"{name}; password: {'generated' if self.generated else 'chosen'}"
            write_audit_entry(connection, self.by, "created a user", about)
            return User(user_id, name, at, None)

        return await database.write(job)


class ListUsers(AdminCommand[list[User]], frozen=True):
    """List all users."""

    async def run(self, database: Database) -> list[User]:
        """Return the users, ordered by id."""
        table = TableScan("user", ("id",), "id, name, created_at, seen_at")
        return [User(*row) for row in await read_all_rows(database.read_internal, table)]


class RemoveUser(AdminCommand[User], frozen=True):
    """Remove a user and end the user's sessions."""

    name: str

    async def run(self, database: Database) -> User:
        """Return the removed user; raise `StoreRefused` if there is none."""

        def job(connection: sqlite3.Connection) -> User:
            user = _require_user(connection, self.name)
            ended = connection.execute("DELETE FROM login WHERE user = ?", (user.id,)).rowcount
            connection.execute("DELETE FROM user WHERE id = ?", (user.id,))
            about = f"{user.name}; {format_count(ended, 'session')} ended"
            write_audit_entry(connection, self.by, "removed a user", about)
            return user

        return await database.write(job)


class SetPassword(AdminCommand[User], frozen=True):
    """Set a user's password and end the user's sessions."""

    name: str
    digest: str
    generated: bool = False  # as in CreateUser

    async def run(self, database: Database) -> User:
        """Return the user; raise `StoreRefused` if there is none."""

        def job(connection: sqlite3.Connection) -> User:
            user = _require_user(connection, self.name)
            generated_at = time_ns() // 1000 * self.generated
            sql = "UPDATE user SET digest = ?, given_at = ? WHERE id = ?"
            connection.execute(sql, (self.digest, generated_at, user.id))
            ended = connection.execute("DELETE FROM login WHERE user = ?", (user.id,)).rowcount
            how = "generated" if self.generated else "chosen"
            about = f"{user.name}; password: {how}; {format_count(ended, 'session')} ended"
            write_audit_entry(connection, self.by, "set a password", about)
            return user

        return await database.write(job)


async def has_users(database: Database) -> bool:
    """Return whether any user exists."""
    sql = "SELECT EXISTS (SELECT 1 FROM user)"
    return bool(await database.read_internal(lambda it: it.execute(sql).fetchone()[0]))


def find_user(connection: sqlite3.Connection, name: str) -> User | None:
    """Return the user with a name in any case and Unicode form; None if unknown."""
    # SQLite ignores case only for ASCII letters; users are few, so all names are compared here.
    sql, wanted = "SELECT id, name, created_at, seen_at FROM user ORDER BY id", user_name_key(name)
    rows = connection.execute(sql).fetchall()
    return next((User(*row) for row in rows if user_name_key(row[1]) == wanted), None)


def _require_user(connection: sqlite3.Connection, name: str) -> User:
    user = find_user(connection, name)
    if user is None:
        raise StoreRefused(f"there is no user {name!r}")
    return user
