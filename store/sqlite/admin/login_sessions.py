"""Login sessions of users in the admin pages; only the SHA-256 of a session cookie is stored.

A session ends by logging out, a week after its last use, a month after its begin, and when the
user's password changes. A generated password is valid for a week and gives access only to the page
where the user chooses another.
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
# Minimum time between two updates of a session's last use.
USE_INTERVAL_SECONDS = 600
# Lifetime of a generated password.
INITIAL_PASSWORD_SECONDS = 7 * DAY_SECONDS
# Client addresses remembered per user, and their lifetime.
MAX_KNOWN_ADDRESSES, ADDRESS_TTL_SECONDS = 20, 180 * DAY_SECONDS
# Maximum length of each queue of password checks.
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
    """The user of a login session."""

    id: int
    name: str
    has_initial_password: bool  # a generated password, which the user has to replace


class _LoginQueue:
    """Queue of password checks, which run one at a time."""

    def __init__(self) -> None:
        self.slot = asyncio.Semaphore(1)
        self.waiting = 0


class LoginSessions:
    """Login sessions of all users."""

    def __init__(self, database: Database, clock: Callable[[], float] = time) -> None:
        """`clock` returns seconds since 1970."""
        self._database = database
        self._clock = clock
        self._unknown_clients, self._known_clients = _LoginQueue(), _LoginQueue()

    async def authenticate(
        self, name: str, password: str, *, known_client: bool = False
    ) -> LoggedInUser | None:
        """Return the user with this name and password; take as long for an unknown name.

        Unknown and known clients have separate queues, so that many unknown clients cannot lock
        an owner out. Raise `StoreBusy` when the queue is full.
        """
        queue = self._known_clients if known_client else self._unknown_clients
        if queue.waiting >= MAX_QUEUED_LOGINS:
            raise StoreBusy("too many logins at once: try again in a moment")

        def job(connection: sqlite3.Connection) -> tuple[int, str, str, int] | None:
            rows = connection.execute("SELECT id, name, digest, given_at FROM user").fetchall()
            return next((row for row in rows if user_name_key(row[1]) == wanted), None)

        wanted = user_name_key(name)
        queue.waiting += 1
        try:
            async with queue.slot:
                row = await self._database.read(job)
                is_valid = await asyncio.to_thread(verify_password, row and row[2], password)
        finally:
            queue.waiting -= 1
        if not is_valid or row is None:
            return None
        user_id, name, _, generated_at = row
        age = self._now() - generated_at
        if generated_at and age > INITIAL_PASSWORD_SECONDS * MICROS_PER_SECOND:
            return None
        return LoggedInUser(user_id, name, generated_at > 0)

    async def known_addresses(self) -> list[tuple[str, bytes]]:
        """Return pairs of a user's name and the hash of an address of an earlier login."""
        return await read_all_rows(self._database.read_internal, KNOWN_ADDRESS_TABLE)

    async def create_session(self, owner: LoggedInUser, address: bytes) -> str:
        """Create a session and return its cookie value; `address` is the client's, hashed."""
        token = secrets.token_urlsafe(32)
        at = self._now()

        def job(connection: sqlite3.Connection) -> None:
            connection.execute(DELETE_EXPIRED_SQL, self._expiry_bounds(at))
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

    async def find_user(self, token: str) -> LoggedInUser | None:
        """Return the user of a session; None if it has ended or never existed."""
        at, key = self._now(), _sha256(token)
        row = await self._database.read(
            lambda it: it.execute(SESSION_USER_SQL, (key, *self._expiry_bounds(at))).fetchone()
        )
        if row is None:
            return None
        user_id, name, generated_at, used_at = row
        if at - used_at > USE_INTERVAL_SECONDS * MICROS_PER_SECOND:
            sql = "UPDATE login SET used_at = ? WHERE sha256 = ?"
            await self._database.write(lambda it: it.execute(sql, (at, key)).rowcount)
        return LoggedInUser(user_id, name, generated_at > 0)

    async def end_session(self, token: str) -> None:
        """Delete a session."""
        sql = "DELETE FROM login WHERE sha256 = ?"
        await self._database.write(lambda it: it.execute(sql, (_sha256(token),)).rowcount)

    def _now(self) -> int:
        return int(self._clock() * MICROS_PER_SECOND)

    def _expiry_bounds(self, at: int) -> tuple[int, int]:
        return (
            at - MAX_IDLE_SECONDS * MICROS_PER_SECOND,
            at - MAX_SESSION_SECONDS * MICROS_PER_SECOND,
        )


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
