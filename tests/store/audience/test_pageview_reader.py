"""The presence follows the log: what is on disk, of late, for hosts that an app lists."""

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
from tests.support.events.event_rows import row
from tests.support.events.event_store import Opened

SECOND = 1_000_000


class Followed(Opened):
    async def __aenter__(self) -> "Followed":
        await super().__aenter__()
        self.presence = ActiveVisitors(60)
        self.sites = SiteRegistry(self.database)
        self.pageviews = PageviewReader(self.database, self.sites, self.presence)
        self.app = (await CreateApp("A", "a", ("www.example.com",)).run(self.database)).id
        await self.sites.refresh()
        return self

    async def view(self, session: str = "s", ago: float = 0, **other: object) -> None:
        data = {"host": "www.example.com", "path": "/", **other.pop("data", {})}  # type: ignore
        at = time_ns() // 1000 - round(ago * SECOND)
        text = json.dumps({name: it for name, it in data.items() if it is not None})
        await self.append(row(app=self.app, session=session, at=at, data=text, **other))

    async def here(self, host: str = "www.example.com") -> dict[str, int]:
        while await self.pageviews.step():
            pass
        return dict(self.presence.reading(self.app, host).visitors)


def run(folder: Path, work: Callable[[Followed], Awaitable[None]]) -> None:
    async def main() -> None:
        async with Followed(folder) as followed:
            await work(followed)  # type: ignore[arg-type]

    asyncio.run(main())


def test_pageviews_are_found_once_they_are_on_disk(tmp_path: Path) -> None:
    async def work(of: Followed) -> None:
        assert await of.here() == {}
        await of.view("s")
        await of.view("t", data={"path": "/a", "title": "A"})
        await of.view("t", data={"host": "WWW.Example.com"})
        assert await of.here() == {"/": 2, "/a": 1}
        assert of.presence.reading(of.app, "www.example.com").titles == {"/a": "A"}
        await of.view("u", source=5)
        assert await of.here() == {"/": 3, "/a": 1}

    run(tmp_path, work)


def test_what_is_no_pageview_of_a_listed_host_tells_of_nobody(tmp_path: Path) -> None:
    async def work(of: Followed) -> None:
        await of.view(name="cta click")
        await of.view(category="other")
        await of.view(session=None)  # type: ignore[arg-type]
        await of.view(data={"host": "other.example.com"})
        await of.view(data={"host": None})
        await of.view(data={"path": None})
        await of.view(data={"path": 7})
        await of.append(row(app=99, at=time_ns() // 1000, data='{"host":"www.example.com"}'))
        assert await of.here() == {}
        assert await of.here("other.example.com") == {}

    run(tmp_path, work)


def test_what_happened_long_ago_tells_of_nobody(tmp_path: Path) -> None:
    async def work(of: Followed) -> None:
        await of.view("now")
        await of.view("before", ago=50)
        await of.view("long ago", ago=70)
        assert await of.here() == {"/": 2}

    run(tmp_path, work)


def test_after_a_restart_those_of_late_are_there_again(tmp_path: Path) -> None:
    async def work(of: Followed) -> None:
        for number in range(30):
            await of.view(f"{number}", ago=number)
        assert await of.here() == {"/": 30}
        again = ActiveVisitors(10)
        await PageviewReader(of.database, of.sites, again).step()
        assert again.reading(of.app, "www.example.com").visitors == {"/": 10}

    run(tmp_path, work)


def test_many_are_taken_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pageview_reader, "READ_STEP_ROWS", 7)

    async def work(of: Followed) -> None:
        for number in range(30):
            await of.view(f"{number}")
            await of.view(f"{number}", name="cta click")
        steps = 0
        while await of.pageviews.step():
            steps += 1
        assert steps == 8  # a step is bounded by the rows that it looks at
        assert await of.here() == {"/": 30}

    run(tmp_path, work)


@pytest.mark.parametrize("views", [0, 1])
def test_pageviews_are_found_after_the_clock_was_ahead_and_was_put_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, views: int
) -> None:
    async def work(of: Followed) -> None:
        with monkeypatch.context() as ahead:
            for module in (pageview_reader, event_log):
                ahead.setattr(module, "time_ns", lambda: time_ns() + 86_400 * 10**9)
            for number in range(views):
                await of.view(f"ahead {number}", ago=-86_400)
            assert await of.here() == ({"/": views} if views else {})
        await of.view("right")
        assert await of.here() == {"/": views + 1}

    run(tmp_path, work)


def test_an_app_is_known_as_soon_as_someone_asks_for_it(tmp_path: Path) -> None:
    async def work(of: Followed) -> None:
        made = await CreateApp("B", "b", ("b.example.com",)).run(of.database)
        assert of.sites.known("b") is None
        found = await asyncio.gather(*(of.sites.find("b") for _ in range(50)))
        assert {site.app for site in found if site} == {made.id}
        assert of.sites.listed(made.id, "b.example.com") == "b.example.com"
        assert await of.sites.find("nobody") is None

    run(tmp_path, work)
