"""Views made anew take the place of the old ones, whatever fails on the way; the next try works."""

import asyncio
import errno
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from background.events.projection_worker import ProjectionWorker
from store.api.errors import StoreBusy, StoreError
from store.sqlite.projections import projections as module
from store.sqlite.projections.projections import Projections
from tests.support.events.event_rows import event_row
from tests.support.events.event_store import OpenEventStore
from tests.support.file_descriptors import limit_free_descriptors

EVENTS = 50


async def filled(it: OpenEventStore) -> list[int]:
    ids = await it.append(*[event_row(session=f"s{n}", at=n) for n in range(EVENTS)])
    await it.projections.step()
    return ids


async def by_folding(it: OpenEventStore) -> None:
    """The loop's next step opens them again."""
    folding = ProjectionWorker(it.projections.step)
    await folding.once()
    assert not folding.failing
    await it.projections.catch_up()


async def by_rebuilding(it: OpenEventStore) -> None:
    """So does another rebuild."""
    assert (await it.projections.rebuild(lambda _: None)).events == EVENTS


async def well(it: OpenEventStore, ids: list[int]) -> None:
    assert not it.projections.trouble
    assert await it.find_ids() == ids
    assert await it.projections.read(lambda db: db.execute("PRAGMA quick_check").fetchall()) == [
        ("ok",)
    ]
    left = sorted(each.name for each in it.folder.glob("views.db-new*"))
    assert left == []


@pytest.mark.parametrize("recover", [by_folding, by_rebuilding])
def test_a_swap_that_runs_out_of_descriptors_at_any_open_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recover: Callable[[OpenEventStore], Any]
) -> None:
    failures = 0

    async def swap(free: int) -> bool:
        """Whether the swap was done with so many descriptors."""
        nonlocal failures
        folder = tmp_path / str(free)
        async with OpenEventStore(folder) as it:
            ids = await filled(it)
            become = Projections._replace_with

            async def short(self: Projections, path: Path) -> None:
                close = self.close

                async def and_then_short() -> None:
                    await close()
                    self.close = close  # type: ignore[method-assign]
                    stack.enter_context(limit_free_descriptors(free))

                self.close = and_then_short  # type: ignore[method-assign]
                await become(self, path)

            with ExitStack() as stack:
                monkeypatch.setattr(Projections, "_replace_with", short)
                try:
                    await it.projections.rebuild(lambda _: None)
                except StoreError as error:
                    assert "views.db" in str(error)
                    failures += 1
                    assert it.projections.trouble
                    with pytest.raises(StoreBusy, match="not open"):
                        await it.find_ids()
                    with pytest.raises(StoreError, match="cannot be opened"):
                        await it.projections.step()
                    done = False
                else:
                    done = True
            monkeypatch.setattr(Projections, "_replace_with", become)
            await recover(it)
            await well(it, ids)
            return done

    async def run() -> None:
        free = 0
        while not await swap(free):
            free += 1

    asyncio.run(run())
    assert failures > 8


@pytest.mark.parametrize("recover", [by_folding, by_rebuilding])
@pytest.mark.parametrize("call", ["replace", "open", "connect", "run_on_connection"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_swap_of_which_a_call_fails_is_made_good(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    recover: Callable[[OpenEventStore], Any],
    call: str,
    number: int,
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(number, os.strerror(number))

    async def run() -> None:
        async with OpenEventStore(tmp_path) as it:
            ids = await filled(it)
            become = Projections._replace_with

            async def failing(self: Projections, path: Path) -> None:
                with monkeypatch.context() as patch:
                    where: Any = {"replace": Path, "open": module.os, "connect": module.aiosqlite}
                    patch.setattr(where.get(call, module), call, fail)
                    await become(self, path)

            with monkeypatch.context() as patch:
                patch.setattr(Projections, "_replace_with", failing)
                with pytest.raises(StoreError, match=r"views\.db cannot be"):
                    await it.projections.rebuild(lambda _: None)
            assert it.projections.trouble
            with pytest.raises(StoreBusy, match="not open"):
                await it.find_ids()
            await recover(it)
            await well(it, ids)

    asyncio.run(run())


def test_what_could_not_be_checkpointed_is_not_left_behind_in_the_wal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file alone takes the old one's place, so that all has to be in it."""

    async def busy(_: Any) -> bool:
        return False

    async def run() -> None:
        async with OpenEventStore(tmp_path) as it:
            ids = await filled(it)
            with monkeypatch.context() as patch:
                patch.setattr(module, "scrub_wal", busy)
                with pytest.raises(StoreBusy, match="another program"):
                    await it.projections.rebuild(lambda _: None)
            await well(it, ids)

    asyncio.run(run())


def test_a_failed_open_for_want_of_descriptors_does_not_throw_good_views_away(
    tmp_path: Path,
) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as it:
            await filled(it)
        for free in range(4):
            async with OpenEventStore(tmp_path / "other") as it:
                views = it.folder.parent / "views.db"
                with (
                    limit_free_descriptors(free),
                    pytest.raises(StoreError, match="cannot be opened"),
                ):
                    await Projections.open(it.database, views)
                assert views.stat().st_size
        async with OpenEventStore(tmp_path) as it:
            assert await it.projections.step() == 0
            assert len(await it.find_ids()) == EVENTS

    asyncio.run(run())
