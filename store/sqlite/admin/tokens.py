"""Secret tokens of apps: `mq_<id>_<secret>`.

Only the SHA-256 of a token is stored; its text is returned once, by the command that creates it.
"""

import hashlib
import re
import secrets
import sqlite3
from dataclasses import dataclass
from time import time_ns

from store.api.errors import StoreRefused
from store.sqlite.admin.app_lookup import find_app
from store.sqlite.core.audit_log import write_audit_entry
from store.sqlite.core.command import AdminCommand
from store.sqlite.core.database import Database

SCOPES = ("write", "read", "admin")
TOKEN_PATTERN = re.compile(r"mq_([1-9][0-9]{0,17})_([\w-]{20,100})", re.ASCII)


@dataclass(frozen=True)
class NewToken:
    """A created token; its secret text is not stored and cannot be shown again."""

    id: int
    app: int
    scopes: list[str]
    secret_token: str


@dataclass(frozen=True)
class AppToken:
    """A stored token; times are microseconds since 1970."""

    id: int
    scopes: list[str]
    created_at: int
    revoked_at: int | None


class CreateToken(AdminCommand[NewToken], frozen=True):
    """Create another token for an app, which is named by id, name or public token."""

    app: str
    scopes: tuple[str, ...]

    async def run(self, database: Database) -> NewToken:
        """Return the token; raise `StoreRefused` for an unknown app or scope."""
        unknown = ", ".join(repr(scope) for scope in self.scopes if scope not in SCOPES)
        if unknown or not self.scopes:
            raise StoreRefused(f"invalid scopes {unknown or '(none)'}: use {', '.join(SCOPES)}")
        scopes = tuple(scope for scope in SCOPES if scope in self.scopes)

        def job(connection: sqlite3.Connection) -> NewToken:
            token = insert_token(connection, find_app(connection, self.app), scopes)
            about = f"token {token.id} ({' '.join(scopes)}) of app {token.app}"
            write_audit_entry(connection, self.by, "created a token", about)
            return token

        return await database.write(job)


class RevokeToken(AdminCommand[AppToken], frozen=True):
    """Revoke a token, named by its id or its full text; it is rejected within a second."""

    token: str

    async def run(self, database: Database) -> AppToken:
        """Return the token; a second call changes nothing. Raise `StoreRefused` if unknown."""
        full = TOKEN_PATTERN.fullmatch(self.token)
        reference = full[1] if full else self.token
        if not re.fullmatch("[0-9]{1,18}", reference, re.ASCII):
            raise StoreRefused("invalid token: give its id or its full text")
        token_id = int(reference)

        def job(connection: sqlite3.Connection) -> AppToken:
            sql = "UPDATE token SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"
            changed = connection.execute(sql, (time_ns() // 1000, token_id)).rowcount
            if changed:
                sql = "SELECT scopes, app FROM token WHERE id = ?"
                scopes, app = connection.execute(sql, (token_id,)).fetchone()
                about = f"token {token_id} ({scopes}) of app {app}"
                write_audit_entry(connection, self.by, "revoked a token", about)
            sql = "SELECT id, scopes, created_at, revoked_at FROM token WHERE id = ?"
            row = connection.execute(sql, (token_id,)).fetchone()
            if row is None:
                raise StoreRefused(f"there is no token with the id {token_id}")
            return token_from_row(row)

        return await database.write(job)


def insert_token(connection: sqlite3.Connection, app: int, scopes: tuple[str, ...]) -> NewToken:
    """Create a token with a random secret."""
    # The token contains its id, which is known only after the insertion; then follows its hash.
    sql = "INSERT INTO token (app, sha256, scopes, created_at) VALUES (?, x'', ?, ?)"
    token_id = connection.execute(sql, (app, " ".join(scopes), time_ns() // 1000)).lastrowid
    assert token_id is not None
    token = f"mq_{token_id}_{secrets.token_urlsafe(32)}"
    connection.execute("UPDATE token SET sha256 = ? WHERE id = ?", (token_digest(token), token_id))
    return NewToken(token_id, app, list(scopes), token)


def token_from_row(row: tuple[int, str, int, int | None]) -> AppToken:
    """Build a token from its id, scopes, creation and revocation."""
    token_id, scopes, created_at, revoked_at = row
    return AppToken(token_id, scopes.split(), created_at, revoked_at)


def token_digest(token: str) -> bytes:
    """Return the SHA-256 of a token."""
    return hashlib.sha256(token.encode()).digest()
