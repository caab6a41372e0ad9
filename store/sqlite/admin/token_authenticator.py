"""Authentication of requests by secret tokens."""

import hmac
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import NamedTuple

from store.cache.ttl_cache import LoadingCache
from store.sqlite.admin.tokens import TOKEN_PATTERN, token_digest
from store.sqlite.core.database import Database

# A revoked token is rejected within a second.
TOKEN_CACHE_SECONDS = 0.9
MAX_CACHED_TOKENS = 10_000
# Tokens that are also cached by the text of their Authorization field.
MAX_SEEN_TOKENS = 10_000


@dataclass(frozen=True)
class AppAccess:
    """The app and the scopes of an authenticated request."""

    token_id: int
    app: int
    scopes: frozenset[str]
    strict: bool = False  # reject events of a type without a schema


class CachedToken(NamedTuple):
    """A token as it was read from the database."""

    sha256: bytes
    access: AppAccess
    expires_at: float  # by the monotonic clock


class TokenAuthenticator:
    """Cache of authenticated tokens; an entry is valid for `TOKEN_CACHE_SECONDS`."""

    def __init__(self, database: Database, clock: Callable[[], float] = monotonic) -> None:
        self._database = database
        self._clock = clock
        self.cache: LoadingCache[int, CachedToken | None] = LoadingCache(
            self._load, size=MAX_CACHED_TOKENS, seconds=TOKEN_CACHE_SECONDS
        )
        self._seen: dict[bytes, CachedToken] = {}

    def peek(self, authorization: str) -> CachedToken | None:
        """Return the token of an `Authorization` field that is cached; None if it is not.

        The lookup is by hash, so that its duration reveals nothing about any token.
        """
        token = self._seen.get(token_digest(authorization))
        return token if token is not None and self._clock() < token.expires_at else None

    async def authenticate(self, token: str) -> AppAccess | None:
        """Return the access that a token grants; None if it is invalid or revoked."""
        parts = TOKEN_PATTERN.fullmatch(token)
        if parts is None:
            return None
        known = await self.cache.get(int(parts[1]))
        if known is None or not hmac.compare_digest(known.sha256, token_digest(token)):
            return None
        if len(self._seen) >= MAX_SEEN_TOKENS:
            self._seen.clear()
        self._seen[token_digest(f"Bearer {token}")] = known
        return known.access

    async def is_strict(self, app: int) -> bool:
        """Return whether events of a type without a schema are rejected for this app."""

        def job(connection: sqlite3.Connection) -> bool:
            row = connection.execute("SELECT strict FROM app WHERE id = ?", (app,)).fetchone()
            return bool(row and row[0])

        return await self._database.read(job)

    async def _load(self, token_id: int) -> CachedToken | None:
        expires_at = self._clock() + TOKEN_CACHE_SECONDS

        def job(connection: sqlite3.Connection) -> CachedToken | None:
            sql = (
                "SELECT sha256, app, scopes, strict FROM token JOIN app ON app.id = token.app "
                "WHERE token.id = ? AND revoked_at IS NULL"
            )
            row = connection.execute(sql, (token_id,)).fetchone()
            if row is None:
                return None
            sha256, app, scopes, strict = row
            access = AppAccess(token_id, app, frozenset(scopes.split()), bool(strict))
            return CachedToken(sha256, access, expires_at)

        return await self._database.read(job)
