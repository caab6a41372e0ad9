"""Apps, and the secret tokens by which they are known: `mq_<id>_<secret>`.

Of a secret only its SHA-256 is stored, and it is shown once.
"""

import hashlib
import hmac
import re
import secrets
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic, time_ns
from typing import Any, NamedTuple

import msgspec

from domain.common.formatting import format_count
from domain.common.hosts import canonical_host
from store.api.errors import StoreRefused
from store.cache.ttl_cache import LoadingCache
from store.sqlite.core.audit_log import format_changes, format_value, write_audit_entry
from store.sqlite.core.command import AdminCommand
from store.sqlite.core.database import Database
from store.sqlite.core.paging import TableScan, read_all_rows, read_pages

SCOPES = ("write", "read", "admin")
# Seconds for which a token is trusted without looking: a revoked one is refused within a second.
TOKEN_CACHE_SECONDS = 0.9
# So many tokens are known by the field that they came in.
MAX_SEEN_TOKENS = 10_000
TOKEN_PATTERN = re.compile(r"mq_([1-9][0-9]{0,17})_([\w-]{20,100})", re.ASCII)
# It stands in addresses as it is, where these others have a meaning of their own.
PUBLIC_TOKEN_PATTERN = re.compile(r"(?!(?:cached|\.\.?)$)[\w.~-]{1,100}", re.ASCII)
APP_COLUMNS = "id, name, public_token, hosts, strict, created_at"
GET_APP_SQL = f"SELECT {APP_COLUMNS} FROM app WHERE id = ?"  # noqa: S608
APP_TOKENS_SQL = "SELECT id, scopes, created_at, revoked_at FROM token WHERE app = ? ORDER BY id"
# Apps whose tokens are read in one transaction.
APPS_PER_READ = 500
UPDATE_APP_SQL = """
UPDATE app SET
    name = coalesce(?, name), public_token = coalesce(?, public_token),
    hosts = coalesce(?, hosts), strict = coalesce(?, strict)
WHERE id = ?
"""
# What is said to have changed when one is made, changed or removed; likewise of its stories.
APPS_CHANGED, STORIES_CHANGED = "apps", "stories"


@dataclass(frozen=True)
class AppAccess:
    """Who asks, and what they may do."""

    token: int
    app: int
    scopes: frozenset[str]
    strict: bool = False  # the app sends no events of a type without a rule


@dataclass(frozen=True)
class NewApp:
    """An app just made; the secret token, for `write` and `read`, is not to be seen again."""

    id: int
    name: str
    public_token: str
    secret_token: str


@dataclass(frozen=True)
class NewToken:
    """A token just made; the secret is not to be seen again."""

    id: int
    app: int
    scopes: list[str]
    secret_token: str


@dataclass(frozen=True)
class AppToken:
    """What is known of a token; times are microseconds since 1970."""

    id: int
    scopes: list[str]
    created_at: int
    revoked_at: int | None


@dataclass(frozen=True)
class App:
    """An app, with its tokens."""

    id: int
    name: str
    public_token: str
    hosts: list[str]
    strict: bool
    created_at: int
    tokens: list[AppToken]


@dataclass(frozen=True)
class RemovedApp:
    """An app that was removed, and how many stories went with it."""

    id: int
    name: str
    stories: int


class CreateApp(AdminCommand[NewApp], frozen=True):
    """Make an app and its first token; a public token is made up if none is given."""

    name: str
    public_token: str | None = None
    hosts: tuple[str, ...] = ()
    strict: bool = False

    async def run(self, database: Database) -> NewApp:
        """The app; `StoreRefused` for a name or public token that is taken, or not right."""
        name = _valid_name(self.name)
        public = (
            secrets.token_hex(10)
            if self.public_token is None
            else _valid_public_token(self.public_token)
        )
        hosts = _encode_hosts(self.hosts)

        def job(connection: sqlite3.Connection) -> NewApp:
            _refuse_taken_names(connection, name, public)
            sql = (
                "INSERT INTO app (name, public_token, hosts, strict, created_at) "
                "VALUES (?, ?, ?, ?, ?)"
            )
            row = (name, public, hosts, self.strict, _now_micros())
            app = connection.execute(sql, row).lastrowid
            assert app is not None
            token = _insert_token(connection, app, ("write", "read"))
            made = {
                "hosts": msgspec.json.decode(hosts),
                "strict": self.strict,
                "public token": public,
            }
            about = "; ".join(f"{key}: {format_value(each)}" for key, each in made.items())
            write_audit_entry(connection, self.by, "made an app", f"{app} ({name}); {about}")
            return NewApp(app, name, public, token.secret_token)

        made = await database.write(job)
        await database.changed(APPS_CHANGED)
        return made


class ChangeApp(AdminCommand[App], frozen=True):
    """Change what is given of an app, which is known by id, name or public token.

    A public token that is replaced is unknown from then on.
    """

    app: str
    name: str | None = None
    public_token: str | None = None
    hosts: tuple[str, ...] | None = None
    strict: bool | None = None

    async def run(self, database: Database) -> App:
        """The app as it is now; `StoreRefused` as for a new one."""
        name = None if self.name is None else _valid_name(self.name)
        public = None if self.public_token is None else _valid_public_token(self.public_token)
        hosts = None if self.hosts is None else _encode_hosts(self.hosts)

        def job(connection: sqlite3.Connection) -> App:
            app = find_app(connection, self.app)
            _refuse_taken_names(connection, name, public, app)
            before = _read_app(connection, app)
            connection.execute(UPDATE_APP_SQL, (name, public, hosts, self.strict, app))
            after = _read_app(connection, app)
            about = format_changes(_editable_fields(before), _editable_fields(after))
            write_audit_entry(
                connection, self.by, "changed an app", f"{app} ({after.name}); {about}"
            )
            return after

        changed = await database.write(job)
        await database.changed(APPS_CHANGED)
        return changed


class RemoveApp(AdminCommand[RemovedApp], frozen=True):
    """Remove an app with its tokens, stories and event rules; its events and figures stay."""

    app: str

    async def run(self, database: Database) -> RemovedApp:
        """What it was; `StoreRefused` if there is none."""

        def job(connection: sqlite3.Connection) -> RemovedApp:
            app = find_app(connection, self.app)
            (name,) = connection.execute("SELECT name FROM app WHERE id = ?", (app,)).fetchone()
            count = "SELECT count(*) FROM story WHERE app = ?"
            removed = RemovedApp(app, name, connection.execute(count, (app,)).fetchone()[0])
            gone = []
            for table, *said in (
                ("story", "story", "stories"),
                ("event_rule", "event rule"),
                ("token", "token"),
            ):
                sql = f"DELETE FROM {table} WHERE app = ?"  # noqa: S608
                gone.append(format_count(connection.execute(sql, (app,)).rowcount, *said))
            connection.execute("DELETE FROM app WHERE id = ?", (app,))
            about = f"{app} ({name}); with it {', '.join(gone)}"
            write_audit_entry(connection, self.by, "removed an app", about)
            return removed

        removed = await database.write(job)
        await database.changed(APPS_CHANGED)
        return removed


class ListApps(AdminCommand[list[App]], frozen=True):
    """All apps."""

    async def run(self, database: Database) -> list[App]:
        """The apps by their ids."""
        return [app async for app in all_apps(database)]


class CreateToken(AdminCommand[NewToken], frozen=True):
    """Make another token for an app, which is given by id, name or public token."""

    app: str
    scopes: tuple[str, ...]

    async def run(self, database: Database) -> NewToken:
        """The token; `StoreRefused` for an unknown app or scope."""
        unknown = ", ".join(repr(scope) for scope in self.scopes if scope not in SCOPES)
        if unknown or not self.scopes:
            raise StoreRefused(f"scopes are some of {', '.join(SCOPES)}; not {unknown or 'none'}")
        scopes = tuple(scope for scope in SCOPES if scope in self.scopes)

        def job(connection: sqlite3.Connection) -> NewToken:
            token = _insert_token(connection, find_app(connection, self.app), scopes)
            about = f"token {token.id} ({' '.join(scopes)}) of app {token.app}"
            write_audit_entry(connection, self.by, "made a token", about)
            return token

        return await database.write(job)


class RevokeToken(AdminCommand[AppToken], frozen=True):
    """Revoke a token, given by its id or in full; it is refused within a second."""

    token: str

    async def run(self, database: Database) -> AppToken:
        """The token; revoking it again changes nothing. `StoreRefused` if there is none."""
        full = TOKEN_PATTERN.fullmatch(self.token)
        said = full[1] if full else self.token
        if not re.fullmatch("[0-9]{1,18}", said, re.ASCII):
            raise StoreRefused("a token is given by its id, or in full")
        number = int(said)

        def job(connection: sqlite3.Connection) -> AppToken:
            sql = "UPDATE token SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL"
            changed = connection.execute(sql, (_now_micros(), number)).rowcount
            if changed:
                sql = "SELECT scopes, app FROM token WHERE id = ?"
                scopes, app = connection.execute(sql, (number,)).fetchone()
                about = f"token {number} ({scopes}) of app {app}"
                write_audit_entry(connection, self.by, "revoked a token", about)
            sql = "SELECT id, scopes, created_at, revoked_at FROM token WHERE id = ?"
            row = connection.execute(sql, (number,)).fetchone()
            if row is None:
                raise StoreRefused(f"there is no token with the id {number}")
            return _token_from_row(row)

        return await database.write(job)


class CachedToken(NamedTuple):
    """A token as it was found in the database."""

    sha256: bytes
    access: AppAccess
    until: float  # when that is to be looked at again, by the monotonic clock


class TokenAuthenticator:
    """Tells who asks by a secret token."""

    def __init__(self, database: Database, clock: Callable[[], float] = monotonic) -> None:
        self._database = database
        self._clock = clock
        self.cache: LoadingCache[int, CachedToken | None] = LoadingCache(
            self._load, size=10_000, seconds=TOKEN_CACHE_SECONDS
        )
        self._seen: dict[bytes, CachedToken] = {}

    def peek(self, authorization: str) -> CachedToken | None:
        """Who asks by this `Authorization` field, if it was authenticated within the last second.

        Found by its hash, so that the time this takes tells nothing of any token.
        """
        known = self._seen.get(_sha256(authorization))
        return known if known is not None and self._clock() < known.until else None

    async def authenticate(self, token: str) -> AppAccess | None:
        """Whose token this is; None for one that is none, or revoked."""
        parts = TOKEN_PATTERN.fullmatch(token)
        if parts is None:
            return None
        known = await self.cache.get(int(parts[1]))
        if known is None or not hmac.compare_digest(known.sha256, _sha256(token)):
            return None
        if len(self._seen) >= MAX_SEEN_TOKENS:
            self._seen.clear()
        self._seen[_sha256(f"Bearer {token}")] = known
        return known.access

    async def strict(self, app: int) -> bool:
        """Whether an app sends no events of a type without a rule."""

        def job(connection: sqlite3.Connection) -> bool:
            row = connection.execute("SELECT strict FROM app WHERE id = ?", (app,)).fetchone()
            return bool(row and row[0])

        return await self._database.read(job)

    async def _load(self, number: int) -> CachedToken | None:
        until = self._clock() + TOKEN_CACHE_SECONDS

        def job(connection: sqlite3.Connection) -> CachedToken | None:
            sql = (
                "SELECT sha256, app, scopes, strict FROM token JOIN app ON app.id = token.app "
                "WHERE token.id = ? AND revoked_at IS NULL"
            )
            row = connection.execute(sql, (number,)).fetchone()
            if row is None:
                return None
            sha256, app, scopes, strict = row
            access = AppAccess(number, app, frozenset(scopes.split()), bool(strict))
            return CachedToken(sha256, access, until)

        return await self._database.read(job)


async def all_apps(database: Database) -> AsyncIterator[App]:
    """The apps by their ids."""
    async for rows in read_pages(database.read_internal, TableScan("app", ("id",), APP_COLUMNS)):
        for start in range(0, len(rows), APPS_PER_READ):
            some = rows[start : start + APPS_PER_READ]
            for app in await database.read_internal(partial(_with_tokens, rows=some)):
                yield app


async def has_apps(database: Database) -> bool:
    """Whether there is an app."""
    sql = "SELECT EXISTS (SELECT 1 FROM app)"
    return bool(await database.read_internal(lambda it: it.execute(sql).fetchone()[0]))


def _read_app(connection: sqlite3.Connection, number: int) -> App:
    return _with_tokens(connection, connection.execute(GET_APP_SQL, (number,)).fetchall())[0]


def _editable_fields(app: App) -> dict[str, object]:
    """What may be changed of an app."""
    return {
        "name": app.name,
        "public token": app.public_token,
        "hosts": app.hosts,
        "strict": app.strict,
    }


async def app_names(database: Database) -> dict[int, str]:
    """The apps' names by their ids."""
    return dict(await read_all_rows(database.read_internal, TableScan("app", ("id",), "id, name")))


def _with_tokens(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> list[App]:
    """The apps in `rows`, which have `APP_COLUMNS`, with their tokens."""
    apps = [
        App(number, name, public, msgspec.json.decode(hosts), bool(strict), at, [])
        for number, name, public, hosts, strict, at in rows
    ]
    for app in apps:
        app.tokens.extend(
            _token_from_row(row) for row in connection.execute(APP_TOKENS_SQL, (app.id,))
        )
    return apps


def _refuse_taken_names(
    connection: sqlite3.Connection, name: str | None, public: str | None, app: int = 0
) -> None:
    """Raise `StoreRefused` if another one than `app` has that name or public token."""
    for column, given, words in (("name", name, "name"), ("public_token", public, "public token")):
        sql = f"SELECT id FROM app WHERE {column} = ? AND id != ?"  # noqa: S608
        taken = connection.execute(sql, (given, app)).fetchone()
        if taken is not None:
            raise StoreRefused(f"app {taken[0]} has the {words} {given!r} already")


def find_app(connection: sqlite3.Connection, said: str) -> int:
    """The id of an app that is given by id, name or public token; `StoreRefused` if none is."""
    sql = (
        "SELECT id FROM app WHERE public_token = ?1 OR name = ?1 "
        "OR (id = CAST(?1 AS INTEGER) AND CAST(id AS TEXT) = ?1)"
    )
    found = [row[0] for row in connection.execute(sql, (said,))]
    if not found:
        raise StoreRefused(f"there is no app {said!r}: give its id, name or public token")
    if len(found) > 1:
        raise StoreRefused(f"{said!r} may be any of the apps {found}: give a public token")
    return int(found[0])


def _insert_token(connection: sqlite3.Connection, app: int, scopes: tuple[str, ...]) -> NewToken:
    # The id is within the token, and so within its hash: first the row, then the hash.
    sql = "INSERT INTO token (app, sha256, scopes, created_at) VALUES (?, x'', ?, ?)"
    number = connection.execute(sql, (app, " ".join(scopes), _now_micros())).lastrowid
    assert number is not None
    token = f"mq_{number}_{secrets.token_urlsafe(32)}"
    connection.execute("UPDATE token SET sha256 = ? WHERE id = ?", (_sha256(token), number))
    return NewToken(number, app, list(scopes), token)


def _token_from_row(row: tuple[int, str, int, int | None]) -> AppToken:
    number, scopes, created_at, revoked_at = row
    return AppToken(number, scopes.split(), created_at, revoked_at)


def _valid_name(said: str) -> str:
    name = said.strip()
    if not 1 <= len(name) <= 200 or not name.isprintable():
        raise StoreRefused("an app's name has 1 to 200 printable characters")
    return name


def _valid_public_token(said: str) -> str:
    if not PUBLIC_TOKEN_PATTERN.fullmatch(said):
        raise StoreRefused(
            "a public token has 1 to 100 letters, digits and . _ ~ -, and is not the word 'cached'"
        )
    return said


def _encode_hosts(said: tuple[str, ...]) -> str:
    """Hosts as JSON."""
    hosts = list(dict.fromkeys(map(_valid_host, said)))
    return msgspec.json.encode(hosts).decode()


def _valid_host(said: str) -> str:
    host = canonical_host(said)
    if host is None:
        raise StoreRefused(
            f"invalid host {said!r}: must be such as www.example.com, localhost:3000 or [::1]"
        )
    return host


def _sha256(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _now_micros() -> int:
    return time_ns() // 1000
