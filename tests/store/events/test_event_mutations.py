"""Events that are replaced, deleted or forgotten: gone from the files, and figures as they were."""

import asyncio
import json
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from store.api.errors import StoreBusy, StoreRefused
from store.sqlite.events.event_mutations import ErasureResult
from tests.support.events.event_rows import event_row, log_counts, row_of_sender
from tests.support.events.event_store import OpenEventStore


def bytes_of(folder: Path) -> bytes:
    """All that stands in the files."""
    return b"".join(file.read_bytes() for file in sorted(folder.glob("*.db*")))


@pytest.mark.parametrize("folded", [True, False])
def test_a_forgotten_session_leaves_no_byte_in_the_files(tmp_path: Path, folded: bool) -> None:
    chance = random.Random(1)
    people = [str(uuid4()) for _ in range(300)]
    rows = [
        event_row(
            session=who,
            data=json.dumps({"mail": f"{who}@example.com", "more": "x" * chance.choice([9, 9000])}),
        )
        for who in people
        for _ in range(3)
    ]
    chance.shuffle(rows)

    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            for start in range(0, len(rows), 50):
                await opened.append(*rows[start : start + 50])
                if folded:
                    await opened.projections.step()
            for who in people[:10]:
                assert await opened.mutations.erase_session(who, None) == ErasureResult(3, 0)
                assert await opened.find_ids(session=who) == []
                assert who.encode() not in bytes_of(tmp_path)
            for who in people[10:20]:
                assert len(await opened.find_ids(session=who)) == 3
                assert who.encode() in bytes_of(tmp_path)
            assert await opened.mutations.erase_session(people[0], None) == ErasureResult(0, 0)

    asyncio.run(run())


def test_forgetting_ends_with_what_was_acknowledged_and_with_the_app(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            mine, theirs = await opened.append(event_row(app=1), event_row(app=2))
            opened.log.append([event_row(app=1)])  # not committed yet when it is asked for
            assert await opened.mutations.erase_session("s", 1) == ErasureResult(2, 0)
            assert await opened.events.get(mine) is None
            assert await opened.find_ids() == [theirs]
            assert await opened.mutations.erase_session("s", None) == ErasureResult(1, 0)
            assert await opened.find_ids() == []

    asyncio.run(run())


@pytest.mark.parametrize("folded", [True, False])
def test_figures_stay_as_they_were_and_are_rebuilt_so(tmp_path: Path, folded: bool) -> None:
    banner = {"campaign": 1, "banner": 100, "slot": 2}
    earned = json.dumps(banner | {"click": 7, "revenue_micros": 5_000_000})

    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            *_, click, conversion = await opened.append(
                event_row(at=1), event_row(at=70_000_000), event_row(session="t"),
                event_row("click", source=3, app=0, session=None, data=json.dumps(banner)),
                event_row("conversion", source=4, session=None, data=earned),
            )  # fmt: skip
            if folded:
                before = await opened.projection_counts()
            await opened.mutations.erase_session("s", None)
            assert await opened.mutations.delete(click)
            assert await opened.mutations.delete(conversion)
            assert not await opened.mutations.delete(click)
            if not folded:
                before = await opened.projection_counts()
            assert before[1] == [(2, 1, 100, 1, 1, 0, 5_000_000)]
            assert sum(each[-1] for each in before[0]) == 5
            assert await opened.projection_counts() == before
            assert len(await opened.find_ids()) == 1
        (tmp_path / "views.db").unlink()
        async with OpenEventStore(tmp_path) as opened:
            assert await opened.projection_counts() == before
            assert len(await opened.find_ids()) == 1

    asyncio.run(run())


def test_a_forgotten_event_does_not_come_back_by_a_retry(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            [(first, _)] = await opened.log.append([row_of_sender("mine", session="p")])
            [(other, _)] = await opened.log.append([row_of_sender("kept", session="q")])
            await opened.mutations.erase_session("p", None)
            assert b"mine" not in bytes_of(tmp_path)
        for _ in range(2):  # also after a restart
            async with OpenEventStore(tmp_path) as opened:
                again = [
                    row_of_sender("mine", session="p"), row_of_sender("mine", b"c"),
                    row_of_sender("mine", app=2),
                    row_of_sender("kept", session="q"), event_row(),
                ]  # fmt: skip
                outcomes = await opened.log.append(again)
                assert outcomes[:2] == [(first, "duplicate"), (first, "conflict")]
                assert outcomes[3] == (other, "duplicate")
                assert outcomes[4][1] == "stored"
                assert await opened.find_ids(session="p") == []
                of = log_counts(opened.log)
        assert of == (5, 5, 2, 0)

    asyncio.run(run())


def test_raw_rejects_of_a_forgotten_session_go_too(tmp_path: Path) -> None:
    who = "e2085be5-9137-4e4e-80b5-f1ffddc25423"
    theirs = [
        b'{"session_id":"%s"}' % who.encode(),
        b'{"session_id":"\\u00652085be5-9137-4e4e-80b5-f1ffddc25423","data":1}',
        b'[{"session_id":"%s"' % who.encode(),
        b'{"session_id":"\\u00652085be5-9137-4e4e-80b5-f1ffddc25423',
        b"session_id=%s&name=x" % who.encode(),
        b'\xff{"session_id":"%s"}' % who.encode(),
    ]
    others = [b'{"session_id":"x","data":"e2085be5"}', b"x" + who.encode(), b"\xff", b""]

    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            for body in theirs + others:
                await opened.log.append((), [(1, body, "[]")])
            await opened.log.append((), [(2, theirs[0], "[]")])
            before = log_counts(opened.log)
            assert await opened.mutations.erase_session(who, 1) == ErasureResult(0, len(theirs))
            assert await opened.mutations.erase_session(who, None) == ErasureResult(0, 1)
            assert await opened.mutations.erase_session("5", None) == ErasureResult(0, 0)
            assert log_counts(opened.log) == before
            assert bytes_of(tmp_path).count(who.encode()) == 1  # the one that is none of theirs

    asyncio.run(run())


def test_a_replaced_event_is_found_and_counted_as_it_is_now(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            numbers = await opened.append(
                event_row(at=1), event_row(at=2), row_of_sender("mine", at=3)
            )
            await opened.projections.step(2)
            new = event_row("cta click", session="t", at=70_000_000, data='{"new":1}')
            for number in numbers:
                assert await opened.mutations.replace(number, new)
            assert await opened.find_ids(session="s") == []
            assert await opened.find_ids(session="t") == numbers
            assert await opened.find_ids(name="cta click") == numbers
            ((minute, *_, events),), _ = await opened.projection_counts()
            assert (minute, events) == (1, 3)
            event = await opened.events.get(numbers[2])
            assert event is not None
            assert (event.sender_id, bytes(event.data)) == ("mine", b'{"new":1}')
            # What came first under this sender's id is still the same event.
            assert await opened.log.append([row_of_sender("mine", at=3)]) == [
                (numbers[2], "duplicate")
            ]
            assert not await opened.mutations.replace(5, new)
            with pytest.raises(StoreRefused, match="sender_id"):
                await opened.mutations.replace(numbers[2], row_of_sender("other"))
            (click,) = await opened.append(event_row("click", source=3, session=None))
            with pytest.raises(StoreRefused, match="only events that apps sent"):
                await opened.mutations.replace(click, new)
            figures = await opened.projection_counts()
        (tmp_path / "views.db").unlink()
        async with OpenEventStore(tmp_path) as opened:
            assert await opened.projection_counts() == figures
            assert await opened.find_ids(session="t") == numbers

    asyncio.run(run())


def test_while_another_program_reads_it_is_told_that_bytes_may_be_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.sqlite.core.database.SCRUB_ATTEMPTS", 2)

    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            (number,) = await opened.append(event_row(data='{"mark":"quicksilver"}'))
            with closing(sqlite3.connect(tmp_path / "marquee.db")) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM event").fetchone()
                with pytest.raises(StoreBusy, match="another program"):
                    await opened.mutations.delete(number)
                assert await opened.find_ids() == []
            # Asked for again, it is done.
            await opened.mutations.erase_session("s", None)
            assert b"quicksilver" not in bytes_of(tmp_path)

    asyncio.run(run())


def test_what_the_views_took_back_is_kept_no_longer(tmp_path: Path) -> None:
    async def run() -> None:
        async with OpenEventStore(tmp_path) as opened:
            numbers = await opened.append(*(event_row() for _ in range(9)))
            await opened.projections.catch_up()
            for number in numbers[:4]:
                await opened.mutations.delete(number)
            sql = "SELECT count(*) FROM change"
            assert await opened.database.read(lambda it: it.execute(sql).fetchone()) == (0,)
            assert await opened.find_ids() == numbers[4:]

    asyncio.run(run())
