"""The log: what is acknowledged is on disk, once, and counted."""

import asyncio
from pathlib import Path
from typing import Any

from sets import rows, with_database

from store.database import Database
from store.log import Log


def row(name: str = "pageview", **changed: Any) -> Any:
    of = {
        "source": 1, "app": 1, "session": "s", "user": None, "category": "page interaction",
        "name": name, "at": 1, "sender": None, "digest": None, "data": "{}",
    }  # fmt: skip
    assert changed.keys() <= of.keys()
    return tuple((of | changed).values())


def sent(sender: str, body: bytes = b"b", **changed: Any) -> Any:
    return row(sender=sender, digest=body * 32, **changed)


def counts(log: Log) -> tuple[int, ...]:
    of = log.counts
    assert of.received == of.stored + of.duplicate + of.rejected + of.refused
    return of.stored, of.duplicate, of.rejected, of.refused


def test_what_is_acknowledged_is_on_disk(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await Log.open(database)
        [(number, verdict)] = await log.append([row("click", data='{"a":1}')], received=2_000_000)
        assert verdict == "stored"
        assert rows(tmp_path, "SELECT * FROM event") == [
            (number, 1, 1, "s", None, "page interaction", "click", 1, 2_000_000, None, None,
             '{"a":1}')
        ]  # fmt: skip
        assert number == 2_000 << 22
        assert counts(log) == (1, 0, 0, 0)

    with_database(tmp_path, use)


def test_a_repeated_sender_stores_nothing_and_answers_as_the_first_time(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        log = await Log.open(database)
        [(first, _)] = await log.append([sent("a")])
        assert await log.append([sent("a")]) == [(first, "duplicate")]
        assert await log.append([sent("a", b"c")]) == [(first, "conflict")]
        [(other, verdict)] = await log.append([sent("a", app=2)])
        assert (other > first, verdict) == (True, "stored")
        both = await asyncio.gather(log.append([sent("b")]), log.append([sent("b"), sent("c")]))
        [(b, one)], [(again, two), (_, three)] = both
        assert (one, two, three, again) == ("stored", "duplicate", "stored", b)
        assert counts(log) == (4, 2, 1, 0)

    with_database(tmp_path, use)
