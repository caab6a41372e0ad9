"""Stories: put in, listed and removed."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import time_ns
from typing import Literal

from rules.story import Story
from rules.words import moment
from store.apps import STORIES, find_app
from store.audit import changes, note, value
from store.commands import Command
from store.database import Database
from store.errors import StoreRefused
from store.paging import LARGEST_INTEGER, Table, all_rows
from store.steps import Steps

KNOWN = "SELECT app, place, shown_from, shown_until, metadata FROM story WHERE id = ?"
PUT = """
INSERT INTO story (app, place, shown_from, shown_until, metadata, changed_at, id)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    place = excluded.place, shown_from = excluded.shown_from, shown_until = excluded.shown_until,
    metadata = excluded.metadata, changed_at = excluded.changed_at
"""
COLUMNS = "id, app, place, shown_from, shown_until, metadata, changed_at"
KEY = ("app", "place", "id")


@dataclass(frozen=True)
class Put:
    """What became of a story that was put in; the reason if it was rejected."""

    verdict: Literal["stored", "changed", "duplicate", "rejected"]
    reason: str = ""


@dataclass(frozen=True)
class Kept:
    """A story as it is kept; moments in µs, `metadata` as JSON."""

    id: int
    app: int
    order: int
    shown_from: int | None
    shown_until: int | None
    metadata: str
    changed_at: int


@dataclass(frozen=True)
class RemovedStories:
    """The stories that were removed."""

    removed: list[int]


class PutStories(Command[list[Put]], frozen=True):
    """Put stories in, each in the place of the one with its id.

    One without an order stays where it is, or comes after all others of its app.
    """

    stories: tuple[Story, ...]

    async def run(self, database: Database) -> list[Put]:
        """What became of each."""
        parts = await Steps(database).write(self.stories, partial(_put_all, self.by))
        await database.changed(STORIES)
        return [each for part in parts for each in part]


class ListStories(Command[list[Kept]], frozen=True):
    """The stories of all apps, or of one that is given by id, name or public token."""

    app: str | None = None

    async def run(self, database: Database) -> list[Kept]:
        """The stories of each app in their order; `StoreRefused` if there is no such app."""
        read = database.read_internal
        table = Table("story INDEXED BY story_place", KEY, COLUMNS)
        if self.app is not None:
            app = await read(partial(find_app, said=self.app))
            least, most = -LARGEST_INTEGER - 1, LARGEST_INTEGER
            table = replace(table, after=(app, least, least), upto=(app, most, most))
        return [Kept(*row) for row in await all_rows(read, table)]


async def story(database: Database, number: int) -> Kept | None:
    """One story."""
    sql = f"SELECT {COLUMNS} FROM story WHERE id = ?"  # noqa: S608
    row = await database.read(lambda it: it.execute(sql, (number,)).fetchone())
    return None if row is None else Kept(*row)


async def unused(database: Database) -> int:
    """The first id beyond those of all stories."""
    sql = "SELECT coalesce(max(id), 0) FROM story"
    highest: int = (await database.read(lambda it: it.execute(sql).fetchone()))[0]
    return min(highest + 1, 2**63 - 1)


class RemoveStories(Command[RemovedStories], frozen=True):
    """Remove stories by their ids; their events and counts stay."""

    stories: tuple[int, ...]

    async def run(self, database: Database) -> RemovedStories:
        """Which they were; `StoreRefused` if one is unknown, and none is removed then."""

        def job(connection: sqlite3.Connection) -> None:
            for story in dict.fromkeys(self.stories):
                was = connection.execute(KNOWN, (story,)).fetchone()
                if not connection.execute("DELETE FROM story WHERE id = ?", (story,)).rowcount:
                    raise StoreRefused(f"there is no story {story}")
                note(connection, self.by, "removed a story", f"{story}; {_about(was)}")

        await database.write(job)
        await database.changed(STORIES)
        return RemovedStories(sorted(set(self.stories)))


def _put_all(by: str, connection: sqlite3.Connection, stories: Sequence[Story]) -> list[Put]:
    return [_put(connection, by, story) for story in stories]


def _fields(row: tuple[int, int, int | None, int | None, str]) -> dict[str, object]:
    """The columns of `KNOWN`, for people."""
    app, place, shown_from, shown_until, metadata = row
    return {
        "app": app,
        "order": place,
        "shown from": None if shown_from is None else moment(shown_from),
        "shown until": None if shown_until is None else moment(shown_until),
        "metadata": metadata,
    }


def _about(row: tuple[int, int, int | None, int | None, str]) -> str:
    return "; ".join(f"{name}: {value(each)}" for name, each in _fields(row).items())


def _put(connection: sqlite3.Connection, by: str, story: Story) -> Put:
    try:
        app = find_app(connection, story.app)
    except StoreRefused as refused:
        return Put("rejected", str(refused))
    known = connection.execute(KNOWN, (story.id,)).fetchone()
    if known is not None and known[0] != app:
        return Put("rejected", f"story {story.id} is one of app {known[0]}")
    place = story.order
    if place is None and known is not None:
        place = known[1]
    elif place is None:
        sql = "SELECT coalesce(max(place) + 1, 1) FROM story WHERE app = ?"
        place = connection.execute(sql, (app,)).fetchone()[0]
    row = (app, place, story.shown_from, story.shown_until, story.metadata)
    if row == known:
        return Put("duplicate")
    connection.execute(PUT, (*row, time_ns() // 1000, story.id))
    if known is None:
        note(connection, by, "made a story", f"{story.id}; {_about(row)}")
        return Put("stored")
    about = changes(_fields(known), _fields(row))
    note(connection, by, "changed a story", f"{story.id}; {about}")
    return Put("changed")
