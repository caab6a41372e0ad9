"""Apps: customers of the API, each with its own tokens, stories, event schemas and events."""

import re
import secrets
import sqlite3
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import time_ns
from typing import Any

import msgspec

from domain.common.formatting import format_count
from domain.common.hosts import canonical_host
from store.api.errors import StoreRefused
from store.sqlite.admin.app_lookup import find_app
from store.sqlite.admin.tokens import AppToken, insert_token, token_from_row
from store.sqlite.core.audit_log import format_changes, format_value, write_audit_entry
from store.sqlite.core.command import AdminCommand
from store.sqlite.core.database import Database
from store.sqlite.core.paging import TableScan, read_all_rows, read_pages

# A public token is a path segment of URLs, where these other words have a meaning of their own.
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
# Topics of `Database.changed`: an app, or a story, was created, changed or removed.
APPS_CHANGED, STORIES_CHANGED = "apps", "stories"


@dataclass(frozen=True)
class NewApp:
    """A created app; its secret token, for `write` and `read`, cannot be shown again."""

    id: int
    name: str
    public_token: str
    secret_token: str


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
    """A removed app, and the number of its stories, which were removed with it."""

    id: int
    name: str
    stories: int


class CreateApp(AdminCommand[NewApp], frozen=True):
    """Create an app and its first token; without a public token, generate one."""

    name: str
    public_token: str | None = None
    hosts: tuple[str, ...] = ()
    strict: bool = False

    async def run(self, database: Database) -> NewApp:
        """Return the app; raise `StoreRefused` if its name or public token is taken or invalid."""
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
            row = (name, public, hosts, self.strict, time_ns() // 1000)
            app = connection.execute(sql, row).lastrowid
            assert app is not None
            token = insert_token(connection, app, ("write", "read"))
            fields = {
                "hosts": msgspec.json.decode(hosts),
                "strict": self.strict,
                "public token": public,
            }
            about = "; ".join(f"{key}: {format_value(each)}" for key, each in fields.items())
            write_audit_entry(connection, self.by, "created an app", f"{app} ({name}); {about}")
            return NewApp(app, name, public, token.secret_token)

        created = await database.write(job)
        await database.changed(APPS_CHANGED)
        return created


class ChangeApp(AdminCommand[App], frozen=True):
    """Change the given fields of an app, which is named by id, name or public token.

    A replaced public token is invalid at once.
    """

    app: str
    name: str | None = None
    public_token: str | None = None
    hosts: tuple[str, ...] | None = None
    strict: bool | None = None

    async def run(self, database: Database) -> App:
        """Return the changed app; raise `StoreRefused` as `CreateApp` does."""
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
    """Remove an app with its tokens, stories and event schemas; its events and stats stay."""

    app: str

    async def run(self, database: Database) -> RemovedApp:
        """Return the removed app; raise `StoreRefused` if there is none."""

        def job(connection: sqlite3.Connection) -> RemovedApp:
            app = find_app(connection, self.app)
            (name,) = connection.execute("SELECT name FROM app WHERE id = ?", (app,)).fetchone()
            count = "SELECT count(*) FROM story WHERE app = ?"
            removed = RemovedApp(app, name, connection.execute(count, (app,)).fetchone()[0])
            removed_rows = []
            for table, *nouns in (
                ("story", "story", "stories"),
                ("event_rule", "event schema"),
                ("token", "token"),
            ):
                sql = f"DELETE FROM {table} WHERE app = ?"  # noqa: S608
                removed_rows.append(format_count(connection.execute(sql, (app,)).rowcount, *nouns))
            connection.execute("DELETE FROM app WHERE id = ?", (app,))
            about = f"{app} ({name}); with it {', '.join(removed_rows)}"
            write_audit_entry(connection, self.by, "removed an app", about)
            return removed

        removed = await database.write(job)
        await database.changed(APPS_CHANGED)
        return removed


class ListApps(AdminCommand[list[App]], frozen=True):
    """List all apps."""

    async def run(self, database: Database) -> list[App]:
        """Return the apps, ordered by id."""
        return [app async for app in all_apps(database)]


async def all_apps(database: Database) -> AsyncIterator[App]:
    """Yield the apps, ordered by id."""
    async for rows in read_pages(database.read_internal, TableScan("app", ("id",), APP_COLUMNS)):
        for start in range(0, len(rows), APPS_PER_READ):
            part = rows[start : start + APPS_PER_READ]
            for app in await database.read_internal(partial(_with_tokens, rows=part)):
                yield app


async def has_apps(database: Database) -> bool:
    """Return whether any app exists."""
    sql = "SELECT EXISTS (SELECT 1 FROM app)"
    return bool(await database.read_internal(lambda it: it.execute(sql).fetchone()[0]))


def _read_app(connection: sqlite3.Connection, app: int) -> App:
    return _with_tokens(connection, connection.execute(GET_APP_SQL, (app,)).fetchall())[0]


def _editable_fields(app: App) -> dict[str, object]:
    """Return the fields that `ChangeApp` can change, for the audit log."""
    return {
        "name": app.name,
        "public token": app.public_token,
        "hosts": app.hosts,
        "strict": app.strict,
    }


async def app_names(database: Database) -> dict[int, str]:
    """Map each app's id to its name."""
    return dict(await read_all_rows(database.read_internal, TableScan("app", ("id",), "id, name")))


def _with_tokens(connection: sqlite3.Connection, rows: Sequence[tuple[Any, ...]]) -> list[App]:
    """Build apps from rows of `APP_COLUMNS` and add their tokens."""
    apps = [
        App(app_id, name, public, msgspec.json.decode(hosts), bool(strict), created_at, [])
        for app_id, name, public, hosts, strict, created_at in rows
    ]
    for app in apps:
        app.tokens.extend(
            token_from_row(row) for row in connection.execute(APP_TOKENS_SQL, (app.id,))
        )
    return apps


def _refuse_taken_names(
    connection: sqlite3.Connection, name: str | None, public: str | None, app: int = 0
) -> None:
    """Raise `StoreRefused` if an app other than `app` has this name or public token."""
    for column, value, noun in (("name", name, "name"), ("public_token", public, "public token")):
        sql = f"SELECT id FROM app WHERE {column} = ? AND id != ?"  # noqa: S608
        taken = connection.execute(sql, (value, app)).fetchone()
        if taken is not None:
            raise StoreRefused(f"app {taken[0]} has the {noun} {value!r} already")


def _valid_name(text: str) -> str:
    name = text.strip()
    if not 1 <= len(name) <= 200 or not name.isprintable():
        raise StoreRefused(f"invalid name {name[:200]!r}: must have 1 to 200 printable characters")
    return name


def _valid_public_token(token: str) -> str:
    if not PUBLIC_TOKEN_PATTERN.fullmatch(token):
        raise StoreRefused(
            f"invalid public token {token[:100]!r}: must have 1 to 100 letters, digits "
            "and . _ ~ -, and not be the word 'cached'"
        )
    return token


def _encode_hosts(hosts: tuple[str, ...]) -> str:
    """Return the canonical hosts as JSON, without duplicates."""
    return msgspec.json.encode(list(dict.fromkeys(map(_valid_host, hosts)))).decode()


def _valid_host(text: str) -> str:
    host = canonical_host(text)
    if host is None:
        raise StoreRefused(
            f"invalid host {text!r}: must be such as www.example.com, localhost:3000 or [::1]"
        )
    return host
