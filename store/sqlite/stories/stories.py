"""Commands to put, list and remove stories."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from time import time_ns
from typing import Literal

from domain.common.formatting import format_moment
from domain.stories.story import Story
from store.api.errors import StoreRefused
from store.sqlite.admin.app_lookup import find_app
from store.sqlite.admin.apps import STORIES_CHANGED
from store.sqlite.core.audit_log import format_changes, format_value, write_audit_entry
from store.sqlite.core.batched_writes import BatchedWriter
from store.sqlite.core.command import AdminCommand
from store.sqlite.core.database import Database
from store.sqlite.core.paging import MAX_SQLITE_INTEGER, TableScan, read_all_rows

STORY_SQL = "SELECT app, place, shown_from, shown_until, metadata FROM story WHERE id = ?"
UPSERT_STORY_SQL = """
INSERT INTO story (app, place, shown_from, shown_until, metadata, changed_at, id)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    place = excluded.place, shown_from = excluded.shown_from, shown_until = excluded.shown_until,
    metadata = excluded.metadata, changed_at = excluded.changed_at
"""
STORY_COLUMNS = "id, app, place, shown_from, shown_until, metadata, changed_at"
STORY_KEY = ("app", "place", "id")


@dataclass(frozen=True)
class PutStoryResult:
    """The outcome for a story; `reason` if it was rejected."""

    verdict: Literal["stored", "changed", "duplicate", "rejected"]
    reason: str = ""


@dataclass(frozen=True)
class StoredStory:
    """A stored story; times are microseconds since 1970, `metadata` is JSON."""

    id: int
    app: int
    order: int
    shown_from: int | None
    shown_until: int | None
    metadata: str
    changed_at: int


@dataclass(frozen=True)
class RemovedStories:
    """The ids of the removed stories."""

    removed: list[int]


class PutStories(AdminCommand[list[PutStoryResult]], frozen=True):
    """Store stories; each replaces the story with its id.

    Without an order, an existing story keeps its order, and a new one is the last of its app.
    """

    stories: tuple[Story, ...]

    async def run(self, database: Database) -> list[PutStoryResult]:
        """Return the result for each story."""
        parts = await BatchedWriter(database).write(self.stories, partial(_put_stories, self.by))
        await database.changed(STORIES_CHANGED)
        return [each for part in parts for each in part]


class ListStories(AdminCommand[list[StoredStory]], frozen=True):
    """List the stories of all apps, or of one app, named by id, name or public token."""

    app: str | None = None

    async def run(self, database: Database) -> list[StoredStory]:
        """Return the stories, ordered within each app; raise `StoreRefused` for an unknown app."""
        read = database.read_internal
        table = TableScan("story INDEXED BY story_place", STORY_KEY, STORY_COLUMNS)
        if self.app is not None:
            app = await read(partial(find_app, reference=self.app))
            least, most = -MAX_SQLITE_INTEGER - 1, MAX_SQLITE_INTEGER
            table = replace(table, after=(app, least, least), upto=(app, most, most))
        return [StoredStory(*row) for row in await read_all_rows(read, table)]


async def get_story(database: Database, number: int) -> StoredStory | None:
    """Return the story with this id; None if there is none."""
    sql = f"SELECT {STORY_COLUMNS} FROM story WHERE id = ?"  # noqa: S608
    row = await database.read(lambda it: it.execute(sql, (number,)).fetchone())
    return None if row is None else StoredStory(*row)


async def next_story_id(database: Database) -> int:
    """Return the id after the highest id of all stories."""
    sql = "SELECT coalesce(max(id), 0) FROM story"
    highest: int = (await database.read(lambda it: it.execute(sql).fetchone()))[0]
    return min(highest + 1, 2**63 - 1)


class RemoveStories(AdminCommand[RemovedStories], frozen=True):
    """Remove stories by their ids; their events and counts stay."""

    stories: tuple[int, ...]

    async def run(self, database: Database) -> RemovedStories:
        """Return the ids; raise `StoreRefused`, and remove none, if one is unknown."""

        def job(connection: sqlite3.Connection) -> None:
            for story in dict.fromkeys(self.stories):
                was = connection.execute(STORY_SQL, (story,)).fetchone()
                if not connection.execute("DELETE FROM story WHERE id = ?", (story,)).rowcount:
                    raise StoreRefused(f"there is no story {story}")
                write_audit_entry(
                    connection, self.by, "removed a story", f"{story}; {_audit_text(was)}"
                )

        await database.write(job)
        await database.changed(STORIES_CHANGED)
        return RemovedStories(sorted(set(self.stories)))


def _put_stories(
    by: str, connection: sqlite3.Connection, stories: Sequence[Story]
) -> list[PutStoryResult]:
    return [_put_story(connection, by, story) for story in stories]


def _audit_fields(row: tuple[int, int, int | None, int | None, str]) -> dict[str, object]:
    """Return the columns of `STORY_SQL` by the names used in the audit log."""
    app, place, shown_from, shown_until, metadata = row
    return {
        "app": app,
        "order": place,
        "shown from": None if shown_from is None else format_moment(shown_from),
        "shown until": None if shown_until is None else format_moment(shown_until),
        "metadata": metadata,
    }


def _audit_text(row: tuple[int, int, int | None, int | None, str]) -> str:
    return "; ".join(f"{name}: {format_value(each)}" for name, each in _audit_fields(row).items())


def _put_story(connection: sqlite3.Connection, by: str, story: Story) -> PutStoryResult:
    try:
        app = find_app(connection, story.app)
    except StoreRefused as refused:
        return PutStoryResult("rejected", str(refused))
    known = connection.execute(STORY_SQL, (story.id,)).fetchone()
    if known is not None and known[0] != app:
        return PutStoryResult("rejected", f"story {story.id} is one of app {known[0]}")
    place = story.order
    if place is None and known is not None:
        place = known[1]
    elif place is None:
        sql = "SELECT coalesce(max(place) + 1, 1) FROM story WHERE app = ?"
        place = connection.execute(sql, (app,)).fetchone()[0]
    row = (app, place, story.shown_from, story.shown_until, story.metadata)
    if row == known:
        return PutStoryResult("duplicate")
    connection.execute(UPSERT_STORY_SQL, (*row, time_ns() // 1000, story.id))
    if known is None:
        write_audit_entry(connection, by, "created story", f"{story.id}; {_audit_text(row)}")
        return PutStoryResult("stored")
    about = format_changes(_audit_fields(known), _audit_fields(row))
    write_audit_entry(connection, by, "changed a story", f"{story.id}; {about}")
    return PutStoryResult("changed")
