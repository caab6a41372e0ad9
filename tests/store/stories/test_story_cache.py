"""Stories: in their order and time, seen at once in memory; what goes when an app does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from domain.stories.story import Story
from store.api.errors import StoreError, StoreRefused
from store.sqlite.admin.apps import ChangeApp, CreateApp, ListApps, RemoveApp
from store.sqlite.core.database import Database
from store.sqlite.core.installation_salt import read_salt
from store.sqlite.events.event_schemas import EventSchemaStore
from store.sqlite.stories.stories import ListStories, PutStories, RemoveStories, StoredStory
from store.sqlite.stories.story_cache import BatchedStoryReader, StoryCache, VisibleStories

NOW = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


class Asker:
    """Is told what an app shows."""

    def __init__(self) -> None:
        self.future: asyncio.Future[VisibleStories | None] = (
            asyncio.get_running_loop().create_future()
        )
        self.settled = self.future.set_result
        self.failed = self.future.set_exception


class Held:
    """A database with two apps, and their shelves."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = Clock()
        self.reads = BatchedStoryReader(database, self.clock)
        self.prepared: list[VisibleStories] = []
        self.shelves = StoryCache(database, self.prepared.append, self.clock)

    async def put(self, *stories: Story) -> list[str]:
        put = await PutStories(stories).run(self.database)
        return [f"{each.verdict} {each.reason}".strip() for each in put]

    async def read(self, token: str = "token_1") -> VisibleStories | None:
        asker = Asker()
        self.reads.ask(token, asker)
        return await asker.future

    async def seen(self, token: str = "token_1") -> list[int] | None:
        """The stories that are shown, which is the same from the database and from memory."""
        fresh = await self.read(token)
        shelf = await self.shelves.get(token)
        if shelf is None or fresh is None:
            assert shelf is fresh
            return None
        assert shelf.shown == fresh
        return [number for number, _ in fresh.stories]


@asynccontextmanager
async def holding(folder: Path) -> AsyncIterator[Held]:
    database = await Database.open(folder / "marquee.db")
    try:
        for number in (1, 2):
            await CreateApp(f"App {number}", f"token_{number}", ("a.example",)).run(database)
        yield Held(database)
    finally:
        await database.close()


def run(folder: Path, test: Callable[[Held], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        async with holding(folder) as held:
            await test(held)

    asyncio.run(all_of_it())


def some(number: int, app: str = "token_1", image: str = "a.png", **more: Any) -> Story:
    return Story(app, number, f'{{"img":"{image}"}}', **more)


def test_stories_come_in_their_order_then_by_their_ids(tmp_path: Path) -> None:
    async def test(held: Held) -> None:
        await held.put(some(5), some(3), some(9, order=-1), some(4, order=1), some(8, "token_2"))
        assert await held.seen() == [9, 4, 5, 3]
        found = await held.read()
        assert found == VisibleStories(
            1, frozenset(["a.example"]), [(n, "a.png") for n in (9, 4, 5, 3)]
        )
        # One without an order keeps its place, or comes last.
        await held.put(some(9, image="b.png"), some(1))
        assert await held.seen() == [9, 4, 5, 3, 1]
        assert await held.seen("token_2") == [8]
        assert await held.seen("token_3") is await held.seen("") is None

    run(tmp_path, test)


def test_a_story_is_shown_from_a_moment_until_another_in_memory_too(tmp_path: Path) -> None:
    async def test(held: Held) -> None:
        await held.put(
            some(1),
            some(2, shown_from=NOW + 5),
            some(3, shown_until=NOW + 5),
            some(4, shown_from=NOW + 2, shown_until=NOW + 9),
            some(5, shown_until=NOW),
            some(6, shown_from=NOW),
        )
        for later, expected in (
            (0, [1, 3, 6]), (1, [1, 3, 6]), (2, [1, 3, 4, 6]), (4, [1, 3, 4, 6]),
            (5, [1, 2, 4, 6]), (9, [1, 2, 6]), (10**12, [1, 2, 6]),
        ):  # fmt: skip
            held.clock.now = NOW + later
            assert await held.seen() == expected
        # Read when it had to be, not each time.
        assert held.shelves.cache.loads == 4
        shelf = await held.shelves.get("token_1")
        assert shelf is not None
        assert shelf.stories == {1, 2, 3, 4, 5, 6}

    run(tmp_path, test)


def test_stories_in_memory_follow_a_clock_that_is_set_back(tmp_path: Path) -> None:
    async def test(held: Held) -> None:
        await held.put(some(1, shown_until=NOW + 5), some(2, shown_from=NOW + 5))
        for later, expected in ((9, [2]), (0, [1]), (9, [2])):
            held.clock.now = NOW + later
            assert await held.seen() == expected

    run(tmp_path, test)


def test_all_who_ask_at_once_cost_one_read(tmp_path: Path) -> None:
    async def test(held: Held) -> None:
        await held.put(some(1))
        found = await asyncio.gather(*(held.shelves.get("token_1") for _ in range(500)))
        assert len({id(each) for each in found}) == 1
        await asyncio.gather(*(held.shelves.get("nobody") for _ in range(500)))
        assert held.shelves.cache.loads == 2
        assert len(held.prepared) == 1

    run(tmp_path, test)


def test_each_who_asks_the_database_is_told_what_it_says_then(tmp_path: Path) -> None:
    async def test(held: Held) -> None:
        await held.put(some(1), some(2, "token_2"))
        tokens = ["token_1", "nobody", "token_2", "", "token_1", 'a"b', "é"] * 60
        found = await asyncio.gather(*map(held.read, tokens))
        assert [each and [number for number, _ in each.stories] for each in found] == [
            [1], None, [2], None, [1], None, None,
        ] * 60  # fmt: skip
        # One who asks while another's is being read sees what was changed before he did.
        first = asyncio.create_task(held.read())
        await asyncio.sleep(0)
        await held.put(some(3))
        second = await held.read()
        assert second is not None
        assert [number for number, _ in second.stories] == [1, 3]
        assert await first in (found[0], second)

    run(tmp_path, test)


def test_who_asks_a_database_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    async def test(held: Held) -> None:
        await held.put(some(1))

        async def fails(_: Any) -> Any:
            raise StoreError("broken")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(held.database, "read", fails)
            found = await asyncio.gather(held.read(), held.read(), return_exceptions=True)
            assert [str(each) for each in found] == ["broken", "broken"]
        assert await held.seen() == [1]

    run(tmp_path, test)


def test_putting_the_same_in_again_changes_nothing(tmp_path: Path) -> None:
    async def test(held: Held) -> None:
        stories = (some(1, order=4), some(2, "2", shown_from=1, shown_until=2), some(3, "App 1"))
        assert await held.put(*stories) == ["stored"] * 3
        listed = await ListStories().run(held.database)
        assert await held.put(*stories) == ["duplicate"] * 3
        assert await ListStories().run(held.database) == listed
        assert [(each.id, each.app, each.order) for each in listed] == [
            (1, 1, 4),
            (3, 1, 5),
            (2, 2, 1),
        ]
        assert await held.put(some(1, image="b.png"), some(3, order=1)) == ["changed"] * 2
        assert await held.seen() == [3, 1]

    run(tmp_path, test)


def test_what_cannot_be_put_in_is_told_and_the_others_are(tmp_path: Path) -> None:
    async def test(held: Held) -> None:
        await held.put(some(1))
        assert await held.put(some(2, "nobody"), some(1, "token_2"), some(3)) == [
            "rejected there is no app 'nobody': give its id, name or public token",
            "rejected story 1 is one of app 1",
            "stored",
        ]
        assert await held.seen() == [1, 3]
        assert await held.seen("token_2") == []

    run(tmp_path, test)


def test_a_change_is_seen_at_once_by_whoever_asks_next(tmp_path: Path) -> None:
    async def test(held: Held) -> None:
        await held.put(some(1), some(2))
        assert await held.seen() == [1, 2]
        await held.put(some(1, order=9))
        assert await held.seen() == [2, 1]
        assert (await RemoveStories((2, 2)).run(held.database)).removed == [2]
        assert await held.seen() == [1]
        await ChangeApp("1", public_token="token_9").run(held.database)
        assert await held.seen() is None
        assert await held.seen("token_9") == [1]
        await ChangeApp("1", hosts=("b.example", "B.example.")).run(held.database)
        shelf = await held.shelves.get("token_9")
        assert shelf is not None
        assert shelf.shown.hosts == {"b.example"}
        await RemoveApp("token_9").run(held.database)
        assert await held.seen("token_9") is None
        await CreateApp("New", "token_9").run(held.database)
        assert await held.seen("token_9") == []

    run(tmp_path, test)


def test_what_is_read_while_it_changes_is_not_kept(tmp_path: Path) -> None:
    async def test(held: Held) -> None:
        await held.put(some(1))
        reading = asyncio.create_task(held.shelves.get("token_1"))
        await asyncio.sleep(0)
        await held.put(some(2))
        await reading
        assert await held.seen() == [1, 2]

    run(tmp_path, test)


def test_stories_are_removed_all_or_none(tmp_path: Path) -> None:
    async def test(held: Held) -> None:
        await held.put(some(1), some(2))
        with pytest.raises(StoreRefused, match="there is no story 7"):
            await RemoveStories((1, 7)).run(held.database)
        assert await held.seen() == [1, 2]

    run(tmp_path, test)


def test_stories_are_listed_of_all_apps_or_of_one(tmp_path: Path) -> None:
    async def test(held: Held) -> None:
        await held.put(some(1), some(2, "token_2", shown_until=5))
        both = await ListStories().run(held.database)
        assert [each.id for each in both] == [1, 2]
        (other,) = await ListStories("App 2").run(held.database)
        assert other == StoredStory(2, 2, 1, None, 5, '{"img":"a.png"}', other.changed_at)
        with pytest.raises(StoreRefused):
            await ListStories("nobody").run(held.database)

    run(tmp_path, test)


def test_an_app_goes_with_its_tokens_stories_and_rules(tmp_path: Path) -> None:
    async def test(held: Held) -> None:
        rules = await EventSchemaStore.open(held.database)
        held.database.watch("apps", rules.reload)
        before = len(rules.schemas)
        await rules.put((1, "a", "b"), {}, "test")
        await rules.put((2, "a", "b"), {}, "test")
        await held.put(some(1), some(2), some(3, "token_2"))
        removed = await RemoveApp("App 1").run(held.database)
        assert (removed.id, removed.name, removed.stories) == (1, "App 1", 2)
        assert [app.id for app in await ListApps().run(held.database)] == [2]
        assert [each.id for each in await ListStories().run(held.database)] == [3]
        assert len(rules.schemas) == before + 1
        with pytest.raises(StoreRefused):
            await RemoveApp("App 1").run(held.database)
        # No other app is ever known by its number, nor another story by those of its.
        assert (await CreateApp("App 1", "token_1").run(held.database)).id == 3

    run(tmp_path, test)


def test_an_app_is_changed_in_what_is_given_alone(tmp_path: Path) -> None:
    async def test(held: Held) -> None:
        (before, _) = await ListApps().run(held.database)
        assert await ChangeApp("1").run(held.database) == before
        changed = await ChangeApp("1", "New", "t", (), True).run(held.database)
        assert (changed.name, changed.public_token, changed.hosts, changed.strict) == (
            "New", "t", [], True,
        )  # fmt: skip
        assert (await ChangeApp("t", "New", "t").run(held.database)).strict
        for wrong in (
            ChangeApp("t", "App 2"), ChangeApp("t", public_token="token_2"), ChangeApp("t", " "),
            ChangeApp("t", public_token="a/b"), ChangeApp("t", hosts=("a b",)), ChangeApp("no"),
        ):  # fmt: skip
            with pytest.raises(StoreRefused):
                await wrong.run(held.database)
        assert (await ListApps().run(held.database))[0] == changed

    run(tmp_path, test)


@pytest.mark.parametrize("token", ["cached", ".", ".."])
def test_a_public_token_is_no_word_that_addresses_have(tmp_path: Path, token: str) -> None:
    async def test(held: Held) -> None:
        with pytest.raises(StoreRefused, match="public token"):
            await CreateApp("x", token).run(held.database)
        await CreateApp("x", f"{token}x").run(held.database)

    run(tmp_path, test)


def test_each_installation_has_a_salt_of_its_own_that_stays(tmp_path: Path) -> None:
    salts = []
    for folder in ("one", "one", "other"):

        async def read(folder: str = folder) -> bytes:
            database = await Database.open(tmp_path / folder / "marquee.db")
            try:
                return await read_salt(database)
            finally:
                await database.close()

        salts.append(asyncio.run(read()))
    assert salts[0] == salts[1] != salts[2]
    assert len(salts[0]) == 32
