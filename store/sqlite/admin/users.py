"""Users: who may see and change everything in a browser. Their passwords come here as digests."""

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
    """A user; times are microseconds since 1970, `seen_at` the last login."""

    id: int
    name: str
    created_at: int
    seen_at: int | None


class CreateUser(AdminCommand[User], frozen=True):
    """Make a user; as the `first` one, only while there is none."""

    name: str
    digest: str
    first: bool = False
    given: bool = False  # the password was made up, and the user is to choose another

    async def run(self, database: Database) -> User:
        """The user; `StoreRefused` for a name that is taken, or not right."""
        name = normalize_user_name(self.name)
        if not USER_NAME_PATTERN.fullmatch(name):
            raise StoreRefused("a user's name has 1 to 100 letters, digits and . _ @ + -")

        def job(connection: sqlite3.Connection) -> User:
            if self.first and connection.execute("SELECT 1 FROM user LIMIT 1").fetchone():
                raise StoreRefused("there is a user by now: log in")
            if (taken := find_user(connection, name)) is not None:
                raise StoreRefused(f"there is a user {taken.name!r} already")
            at = time_ns() // 1000
            sql = "INSERT INTO user (name, digest, created_at, given_at) VALUES (?, ?, ?, ?)"
            row = (name, self.digest, at, at * self.given)
            number = connection.execute(sql, row).lastrowid
            assert number is not None
            about = f"{name}; password: {'made up' if self.given else 'chosen'}"
            write_audit_entry(connection, self.by, "made a user", about)
            return User(number, name, at, None)

        return await database.write(job)


class ListUsers(AdminCommand[list[User]], frozen=True):
    """All users."""

    async def run(self, database: Database) -> list[User]:
        """The users by their ids."""
        table = TableScan("user", ("id",), "id, name, created_at, seen_at")
        return [User(*row) for row in await read_all_rows(database.read_internal, table)]


class RemoveUser(AdminCommand[User], frozen=True):
    """Remove a user, whose sessions end at once."""

    name: str

    async def run(self, database: Database) -> User:
        """The user that was; `StoreRefused` if there is none."""

        def job(connection: sqlite3.Connection) -> User:
            user = _require_user(connection, self.name)
            ended = connection.execute("DELETE FROM login WHERE user = ?", (user.id,)).rowcount
            connection.execute("DELETE FROM user WHERE id = ?", (user.id,))
            about = f"{user.name}; {format_count(ended, 'session')} ended"
            write_audit_entry(connection, self.by, "removed a user", about)
            return user

        return await database.write(job)


class SetPassword(AdminCommand[User], frozen=True):
    """Give a user another password; the user's sessions end at once."""

    name: str
    digest: str
    given: bool = False  # as in CreateUser

    async def run(self, database: Database) -> User:
        """The user; `StoreRefused` if there is none."""

        def job(connection: sqlite3.Connection) -> User:
            user = _require_user(connection, self.name)
            at = time_ns() // 1000 * self.given
            sql = "UPDATE user SET digest = ?, given_at = ? WHERE id = ?"
            connection.execute(sql, (self.digest, at, user.id))
            ended = connection.execute("DELETE FROM login WHERE user = ?", (user.id,)).rowcount
            how = "made up" if self.given else "chosen"
            about = f"{user.name}; password: {how}; {format_count(ended, 'session')} ended"
            write_audit_entry(connection, self.by, "set a password", about)
            return user

        return await database.write(job)


async def has_users(database: Database) -> bool:
    """Whether there is a user."""
    sql = "SELECT EXISTS (SELECT 1 FROM user)"
    return bool(await database.read_internal(lambda it: it.execute(sql).fetchone()[0]))


def find_user(connection: sqlite3.Connection, name: str) -> User | None:
    """Return the user with a name, in any case and Unicode form; None if unknown."""
    # SQLite compares without case in ASCII alone. Users are few.
    sql, wanted = "SELECT id, name, created_at, seen_at FROM user ORDER BY id", user_name_key(name)
    rows = connection.execute(sql).fetchall()
    return next((User(*row) for row in rows if user_name_key(row[1]) == wanted), None)


def _require_user(connection: sqlite3.Connection, name: str) -> User:
    user = find_user(connection, name)
    if user is None:
        raise StoreRefused(f"there is no user {name!r}")
    return user
