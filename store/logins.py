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

from rules.user_names import key
from store.database import Database
from store.errors import StoreBusy
from store.paging import Table, all_rows
from store.passwords import matches

DAY = 86_400
IDLE, LONGEST = 7 * DAY, 30 * DAY
# Seconds after which the use of a session is written down again.
NOTED = 600
# Seconds for which a password that was made up for a user lets in.
GIVEN = 7 * DAY
# Addresses that are kept of a user, and seconds for which one is.
ADDRESSES, REMEMBERED = 20, 180 * DAY
# Passwords that wait in a queue.
WAITING = 20
MICROS = 1_000_000

WHO = """
SELECT user.id, name, given_at, used_at FROM login JOIN user ON user.id = login.user
WHERE sha256 = ? AND used_at > ? AND began_at > ?
"""
OLD = "DELETE FROM login WHERE used_at <= ? OR began_at <= ?"
KNOWN = """
INSERT INTO known_address VALUES (?, ?, ?)
ON CONFLICT DO UPDATE SET used_at = excluded.used_at
"""
FORGET = """
DELETE FROM known_address WHERE used_at <= :oldest OR (user = :user AND address NOT IN (
    SELECT address FROM known_address WHERE user = :user ORDER BY used_at DESC LIMIT :most
))
"""
ADDRESSES_OF_USERS = Table(
    "known_address",
    ("user", "address"),
    "(SELECT name FROM user WHERE id = known_address.user), address",
)


@dataclass(frozen=True)
class Owner:
    """Who is logged in."""

    id: int
    name: str
    given: bool  # the password is one that was made up: another is to be chosen


class _Queue:
    """Passwords that wait to be checked, one at a time."""

    def __init__(self) -> None:
        self.turn = asyncio.Semaphore(1)
        self.waiting = 0


class Logins:
    """The sessions of all users."""

    def __init__(self, database: Database, clock: Callable[[], float] = time) -> None:
        """`clock` tells the seconds since 1970."""
        self._database = database
        self._clock = clock
        self._strangers, self._known = _Queue(), _Queue()

    async def check(self, name: str, password: str, *, known: bool = False) -> Owner | None:
        """The user of this name, if that is the password; as long in coming if not.

        Strangers and known clients wait in queues of their own, so that many strangers cannot
        keep an owner out. Raises `StoreBusy` when the queue is full.
        """
        queue = self._known if known else self._strangers
        if queue.waiting >= WAITING:
            raise StoreBusy("too many are logging in at this moment")

        def job(connection: sqlite3.Connection) -> tuple[int, str, str, int] | None:
            rows = connection.execute("SELECT id, name, digest, given_at FROM user").fetchall()
            return next((row for row in rows if key(row[1]) == wanted), None)

        wanted = key(name)
        queue.waiting += 1
        try:
            async with queue.turn:
                row = await self._database.read(job)
                right = await asyncio.to_thread(matches, row and row[2], password)
        finally:
            queue.waiting -= 1
        if not right or row is None:
            return None
        number, name, _, given = row
        if given and self._now() - given > GIVEN * MICROS:
            return None
        return Owner(number, name, given > 0)

    async def known_addresses(self) -> list[tuple[str, bytes]]:
        """Return the names of users, each with the hash of an address that it logged in from."""
        return await all_rows(self._database.read_internal, ADDRESSES_OF_USERS)

    async def begin(self, owner: Owner, address: bytes) -> str:
        """Begin a session and return what its cookie holds; keep the `address`, a hash."""
        token = secrets.token_urlsafe(32)
        at = self._now()

        def job(connection: sqlite3.Connection) -> None:
            connection.execute(OLD, self._bounds(at))
            connection.execute(
                "INSERT INTO login VALUES (?, ?, ?, ?)", (_sha256(token), owner.id, at, at)
            )
            connection.execute("UPDATE user SET seen_at = ? WHERE id = ?", (at, owner.id))
            connection.execute(KNOWN, (owner.id, address, at))
            oldest = at - REMEMBERED * MICROS
            connection.execute(FORGET, {"user": owner.id, "oldest": oldest, "most": ADDRESSES})

        await self._database.write(job)
        return token

    async def who(self, token: str) -> Owner | None:
        """Whose session this is; None for one that has ended, or never was."""
        at, key = self._now(), _sha256(token)
        row = await self._database.read(
            lambda it: it.execute(WHO, (key, *self._bounds(at))).fetchone()
        )
        if row is None:
            return None
        number, name, given, used = row
        if at - used > NOTED * MICROS:
            sql = "UPDATE login SET used_at = ? WHERE sha256 = ?"
            await self._database.write(lambda it: it.execute(sql, (at, key)).rowcount)
        return Owner(number, name, given > 0)

    async def end(self, token: str) -> None:
        """End a session, at once."""
        sql = "DELETE FROM login WHERE sha256 = ?"
        await self._database.write(lambda it: it.execute(sql, (_sha256(token),)).rowcount)

    def _now(self) -> int:
        return int(self._clock() * MICROS)

    def _bounds(self, at: int) -> tuple[int, int]:
        return at - IDLE * MICROS, at - LONGEST * MICROS


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
