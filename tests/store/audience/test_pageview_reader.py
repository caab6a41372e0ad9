"""Committed pageviews of listed hosts become active visitors."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import time_ns

import pytest

from store.cache.active_visitors import ActiveVisitors
from store.sqlite.admin.apps import CreateApp
from store.sqlite.audience import pageview_reader
from store.sqlite.audience.pageview_reader import PageviewReader
from store.sqlite.audience.site_registry import SiteRegistry
from store.sqlite.events import event_log
from tests.support.events.event_rows import event_row
from tests.support.events.event_store import OpenEventStore

SECOND = 1_000_000


class PageviewStore(OpenEventStore):
    async def __aenter__(self) -> "PageviewStore":
        await super().__aenter__()
        self.active = ActiveVisitors(60)
        self.sites = SiteRegistry(self.database)
        self.pageviews = PageviewReader(self.database, self.sites, self.active)
        self.app = (await CreateApp("A", "a", ("www.example.com",)).run(self.database)).id
        await self.sites.refresh()
        return self

    async def view(self, session: str = "s", ago: float = 0, **other: object) -> None:
        data = {"host": "www.example.com", "path": "/", **other.pop("data", {})}  # type: ignore
        at = time_ns() // 1000 - round(ago * SECOND)
        text = json.dumps({name: it for name, it in data.items() if it is not None})
        await self.append(event_row(app=self.app, session=session, at=at, data=text, **other))

    async def visitors(self, host: str = "www.example.com") -> dict[str, int]:
        while await self.pageviews.process_next():
            pass
        return dict(self.active.reading(self.app, host).visitors)


def run(folder: Path, work: Callable[[PageviewStore], Awaitable[None]]) -> None:
    async def main() -> None:
        async with PageviewStore(folder) as store:
            await work(store)  # type: ignore[arg-type]

    asyncio.run(main())


def test_committed_pageviews_become_active_visitors(tmp_path: Path) -> None:
    async def work(store: PageviewStore) -> None:
        assert await store.visitors() == {}
        await store.view("s")
        await store.view("t", data={"path": "/a", "title": "A"})
        await store.view("t", data={"host": "WWW.Example.com"})
        assert await store.visitors() == {"/": 2, "/a": 1}
        assert store.active.reading(store.app, "www.example.com").titles == {"/a": "A"}
        await store.view("u", source=5)
        assert await store.visitors() == {"/": 3, "/a": 1}

    run(tmp_path, work)


def test_other_events_and_unlisted_hosts_are_ignored(tmp_path: Path) -> None:
    async def work(store: PageviewStore) -> None:
        await store.view(name="cta click")
        await store.view(category="other")
        await store.view(session=None)  # type: ignore[arg-type]
        await store.view(data={"host": "other.example.com"})
        await store.view(data={"host": None})
        await store.view(data={"path": None})
        await store.view(data={"path": 7})
        await store.append(
            event_row(app=99, at=time_ns() // 1000, data='{"host":"www.example.com"}')
        )
        assert await store.visitors() == {}
        assert await store.visitors("other.example.com") == {}

    run(tmp_path, work)


def test_pageviews_older_than_the_active_period_are_ignored(tmp_path: Path) -> None:
    async def work(store: PageviewStore) -> None:
        await store.view("now")
        await store.view("before", ago=50)
        await store.view("long ago", ago=70)
        assert await store.visitors() == {"/": 2}

    run(tmp_path, work)


def test_recent_pageviews_are_read_after_a_restart(tmp_path: Path) -> None:
    async def work(store: PageviewStore) -> None:
        for number in range(30):
            await store.view(f"{number}", ago=number)
        assert await store.visitors() == {"/": 30}
        again = ActiveVisitors(10)
        await PageviewReader(store.database, store.sites, again).process_next()
        assert again.reading(store.app, "www.example.com").visitors == {"/": 10}

    run(tmp_path, work)


def test_pageviews_are_read_in_bounded_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pageview_reader, "READ_STEP_ROWS", 7)

    async def work(store: PageviewStore) -> None:
        for number in range(30):
            await store.view(f"{number}")
            await store.view(f"{number}", name="cta click")
        steps = 0
        while await store.pageviews.process_next():
            steps += 1
        assert steps == 8  # a step is bounded by rows, not by pageviews
        assert await store.visitors() == {"/": 30}

    run(tmp_path, work)


@pytest.mark.parametrize("views", [0, 1])
def test_pageviews_are_found_after_a_clock_that_was_ahead_is_corrected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, views: int
) -> None:
    async def work(store: PageviewStore) -> None:
        with monkeypatch.context() as ahead:
            for module in (pageview_reader, event_log):
                ahead.setattr(module, "time_ns", lambda: time_ns() + 86_400 * 10**9)
            for number in range(views):
                await store.view(f"ahead {number}", ago=-86_400)
            assert await store.visitors() == ({"/": views} if views else {})
        await store.view("corrected")
        assert await store.visitors() == {"/": views + 1}

    run(tmp_path, work)


def test_unknown_app_is_read_on_request(tmp_path: Path) -> None:
    async def work(store: PageviewStore) -> None:
        created = await CreateApp("B", "b", ("b.example.com",)).run(store.database)
        assert store.sites.get_cached("b") is None
        found = await asyncio.gather(*(store.sites.get("b") for _ in range(50)))
        assert {site.app for site in found if site} == {created.id}
        assert store.sites.matching_host(created.id, "b.example.com") == "b.example.com"
        assert await store.sites.get("nobody") is None

    run(tmp_path, work)
