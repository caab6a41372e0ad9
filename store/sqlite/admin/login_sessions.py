"""Owners' sessions in browsers: the cookie's bytes are told once, and kept as a hash.

A session ends when it is logged out, a week after it was used last, a month after it began, and
with its user's password. A password that was made up for a user opens nothing but the page where
the user chooses another, and that for a week.
"""

import asyncio
import hashlib
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from time import time

from domain.admin.user_names import user_name_key
from store.api.errors import StoreBusy
from store.sqlite.admin.password_hashing import verify_password
from store.sqlite.core.database import Database
from store.sqlite.core.paging import TableScan, read_all_rows

DAY_SECONDS = 86_400
MAX_IDLE_SECONDS, MAX_SESSION_SECONDS = 7 * DAY_SECONDS, 30 * DAY_SECONDS
# Seconds after which the use of a session is written down again.
USE_INTERVAL_SECONDS = 600
# Seconds for which a password that was made up for a user lets in.
INITIAL_PASSWORD_SECONDS = 7 * DAY_SECONDS
# Addresses that are kept of a user, and seconds for which one is.
MAX_KNOWN_ADDRESSES, ADDRESS_TTL_SECONDS = 20, 180 * DAY_SECONDS
# Passwords that wait in a queue.
MAX_QUEUED_LOGINS = 20
MICROS_PER_SECOND = 1_000_000

SESSION_USER_SQL = """
SELECT user.id, name, given_at, used_at FROM login JOIN user ON user.id = login.user
WHERE sha256 = ? AND used_at > ? AND began_at > ?
"""
DELETE_EXPIRED_SQL = "DELETE FROM login WHERE used_at <= ? OR began_at <= ?"
SAVE_ADDRESS_SQL = """
INSERT INTO known_address VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET used_at = excluded.used_at
"""
PRUNE_ADDRESSES_SQL = """
DELETE FROM known_address WHERE used_at <= :oldest OR (user = :user AND address NOT IN (
    SELECT address FROM known_address WHERE user = :user ORDER BY used_at DESC LIMIT :most
))
"""
KNOWN_ADDRESS_TABLE = TableScan(
    "known_address",
    ("user", "address"),
    "(SELECT name FROM user WHERE id = known_address.user), address",
)


@dataclass(frozen=True)
class LoggedInUser:
    """Who is logged in."""

    id: int
    name: str
    given: bool  # the password is one that was made up: another is to be chosen


class _LoginQueue:
    """Passwords that wait to be checked, one at a time."""

    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(1)
        self.waiting = 0


class LoginSessions:
    """The sessions of all users."""

    def __init__(self, database: Database, clock: Callable[[], float] = time) -> None:
        """`clock` tells the seconds since 1970."""
        self._database = database
        self._clock = clock
        self._strangers, self._known = _LoginQueue(), _LoginQueue()

    async def check(self, name: str, password: str, *, known: bool = False) -> LoggedInUser | None:
        """The user of this name, if that is the password; as long in coming if not.

        Strangers and known clients wait in queues of their own, so that many strangers cannot
        keep an owner out. Raises `StoreBusy` when the queue is full.
        """
        queue = self._known if known else self._strangers
        if queue.waiting >= MAX_QUEUED_LOGINS:
            raise StoreBusy("too many are logging in at this moment")

        def job(connection: sqlite3.Connection) -> tuple[int, str, str, int] | None:
            rows = connection.execute("SELECT id, name, digest, given_at FROM user").fetchall()
            return next((row for row in rows if user_name_key(row[1]) == wanted), None)

        wanted = user_name_key(name)
        queue.waiting += 1
        try:
            async with queue.turn:
                row = await self._database.read(job)
                right = await asyncio.to_thread(verify_password, row and row[2], password)
        finally:
            queue.waiting -= 1
        if not right or row is None:
            return None
        number, name, _, given = row
        if given and self._now() - given > INITIAL_PASSWORD_SECONDS * MICROS_PER_SECOND:
            return None
        return LoggedInUser(number, name, given > 0)

    async def known_addresses(self) -> list[tuple[str, bytes]]:
        """Return the names of users, each with the hash of an address that it logged in from."""
        return await read_all_rows(self._database.read_internal, KNOWN_ADDRESS_TABLE)

    async def begin(self, owner: LoggedInUser, address: bytes) -> str:
        """Begin a session and return what its cookie holds; keep the `address`, a hash."""
        token = secrets.token_urlsafe(32)
        at = self._now()

        def job(connection: sqlite3.Connection) -> None:
            connection.execute(DELETE_EXPIRED_SQL, self._bounds(at))
            connection.execute(
                "INSERT INTO login VALUES (?, ?, ?, ?)", (_sha256(token), owner.id, at, at)
            )
            connection.execute("UPDATE user SET seen_at = ? WHERE id = ?", (at, owner.id))
            connection.execute(SAVE_ADDRESS_SQL, (owner.id, address, at))
            oldest = at - ADDRESS_TTL_SECONDS * MICROS_PER_SECOND
            connection.execute(
                PRUNE_ADDRESSES_SQL,
                {"user": owner.id, "oldest": oldest, "most": MAX_KNOWN_ADDRESSES},
            )

        await self._database.write(job)
        return token

    async def who(self, token: str) -> LoggedInUser | None:
        """Whose session this is; None for one that has ended, or never was."""
        at, key = self._now(), _sha256(token)
        row = await self._database.read(
            lambda it: it.execute(SESSION_USER_SQL, (key, *self._bounds(at))).fetchone()
        )
        if row is None:
            return None
        number, name, given, used = row
        if at - used > USE_INTERVAL_SECONDS * MICROS_PER_SECOND:
            sql = "UPDATE login SET used_at = ? WHERE sha256 = ?"
            await self._database.write(lambda it: it.execute(sql, (at, key)).rowcount)
        return LoggedInUser(number, name, given > 0)

    async def end(self, token: str) -> None:
        """End a session, at once."""
        sql = "DELETE FROM login WHERE sha256 = ?"
        await self._database.write(lambda it: it.execute(sql, (_sha256(token),)).rowcount)

    def _now(self) -> int:
        return int(self._clock() * MICROS_PER_SECOND)

    def _bounds(self, at: int) -> tuple[int, int]:
        return (
            at - MAX_IDLE_SECONDS * MICROS_PER_SECOND,
            at - MAX_SESSION_SECONDS * MICROS_PER_SECOND,
        )


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
