"""Users: who may see and change everything in a browser. Their passwords come here as digests."""

import re
import sqlite3
from dataclasses import dataclass
from time import time_ns

from rules.user_names import key, stored
from rules.words import plural
from store.audit import note
from store.commands import Command
from store.database import Database
from store.errors import StoreRefused
from store.paging import Table, all_rows

NAME = re.compile(r"[\w.@+-]{1,100}")


@dataclass(frozen=True)
class User:
    """A user; times are microseconds since 1970, `seen_at` the last login."""

    id: int
    name: str
    created_at: int
    seen_at: int | None


class CreateUser(Command[User], frozen=True):
    """Make a user; as the `first` one, only while there is none."""

    name: str
    digest: str
    first: bool = False
    given: bool = False  # the password was made up, and the user is to choose another

    async def run(self, database: Database) -> User:
        """The user; `StoreRefused` for a name that is taken, or not right."""
        name = stored(self.name)
        if not NAME.fullmatch(name):
            raise StoreRefused("a user's name has 1 to 100 letters, digits and . _ @ + -")

        def job(connection: sqlite3.Connection) -> User:
            if self.first and connection.execute("SELECT 1 FROM user LIMIT 1").fetchone():
                raise StoreRefused("there is a user by now: log in")
            if (taken := find(connection, name)) is not None:
                raise StoreRefused(f"there is a user {taken.name!r} already")
            at = time_ns() // 1000
            sql = "INSERT INTO user (name, digest, created_at, given_at) VALUES (?, ?, ?, ?)"
            row = (name, self.digest, at, at * self.given)
            number = connection.execute(sql, row).lastrowid
            assert number is not None
            about = f"{name}; password: {'made up' if self.given else 'chosen'}"
            note(connection, self.by, "made a user", about)
            return User(number, name, at, None)

        return await database.write(job)


class ListUsers(Command[list[User]], frozen=True):
    """All users."""

    async def run(self, database: Database) -> list[User]:
        """The users by their ids."""
        table = Table("user", ("id",), "id, name, created_at, seen_at")
        return [User(*row) for row in await all_rows(database.read_internal, table)]


class RemoveUser(Command[User], frozen=True):
    """Remove a user, whose sessions end at once."""

    name: str

    async def run(self, database: Database) -> User:
        """The user that was; `StoreRefused` if there is none."""

        def job(connection: sqlite3.Connection) -> User:
            user = _find(connection, self.name)
            ended = connection.execute("DELETE FROM login WHERE user = ?", (user.id,)).rowcount
            connection.execute("DELETE FROM user WHERE id = ?", (user.id,))
            about = f"{user.name}; {plural(ended, 'session')} ended"
            note(connection, self.by, "removed a user", about)
            return user

        return await database.write(job)


class SetPassword(Command[User], frozen=True):
    """Give a user another password; the user's sessions end at once."""

    name: str
    digest: str
    given: bool = False  # as in CreateUser

    async def run(self, database: Database) -> User:
        """The user; `StoreRefused` if there is none."""

        def job(connection: sqlite3.Connection) -> User:
            user = _find(connection, self.name)
            at = time_ns() // 1000 * self.given
            sql = "UPDATE user SET digest = ?, given_at = ? WHERE id = ?"
            connection.execute(sql, (self.digest, at, user.id))
            ended = connection.execute("DELETE FROM login WHERE user = ?", (user.id,)).rowcount
            how = "made up" if self.given else "chosen"
            about = f"{user.name}; password: {how}; {plural(ended, 'session')} ended"
            note(connection, self.by, "set a password", about)
            return user

        return await database.write(job)


async def any_user(database: Database) -> bool:
    """Whether there is a user."""
    sql = "SELECT EXISTS (SELECT 1 FROM user)"
    return bool(await database.read_internal(lambda it: it.execute(sql).fetchone()[0]))


def find(connection: sqlite3.Connection, name: str) -> User | None:
    """Return the user with a name, in any case and Unicode form; None if unknown."""
    # SQLite compares without case in ASCII alone. Users are few.
    sql, wanted = "SELECT id, name, created_at, seen_at FROM user ORDER BY id", key(name)
    rows = connection.execute(sql).fetchall()
    return next((User(*row) for row in rows if key(row[1]) == wanted), None)


def _find(connection: sqlite3.Connection, name: str) -> User:
    user = find(connection, name)
    if user is None:
        raise StoreRefused(f"there is no user {name!r}")
    return user
