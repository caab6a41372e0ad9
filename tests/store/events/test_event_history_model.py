"""Whatever happens to a log, in whatever order: what is found and counted follows from it."""

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from store.sqlite.events.event_retention import DAY_MICROS, EventRetention
from store.sqlite.projections import projections
from tests.support.events.event_rows import event_row
from tests.support.events.event_store import OpenEventStore

START, DAYS = 20_000 * DAY_MICROS, 33
MINUTE = 60_000_000
DEEDS = [*["append"] * 4, "step", "time", "replace", "delete", "forget", "new"]


class Model:
    """The same in the plainest way."""

    def __init__(self) -> None:
        self.kept: dict[int, Any] = {}  # by id, as rows
        self.received: dict[int, int] = {}  # of all that is in the log, blanked ones too
        self.at: dict[int, int] = {}
        self.minutes: Counter[tuple[Any, ...]] = Counter()
        self.live: Counter[tuple[int, ...]] = Counter()
        self.sealed = -(2**63)

    def count(self, each: Any, by: int = 1) -> None:
        source, app, _, _, category, name, at, _, _, data = each
        if at >= self.sealed:
            self.minutes[at // MINUTE, app, source, category, name] += by
        if source == 3:
            self.live[tuple(json.loads(data)[key] for key in ("slot", "campaign", "banner"))] += by

    def retain(self, now: int) -> None:
        self.sealed = max(self.sealed, now // DAY_MICROS * DAY_MICROS - (DAYS - 30) * DAY_MICROS)
        for number, received in sorted(self.received.items()):
            if received >= now - DAYS * DAY_MICROS or self.at[number] >= self.sealed:
                break  # what came later waits for what stays
            self.kept.pop(number, None)
            del self.received[number]


async def compare(opened: OpenEventStore, model: Model) -> None:
    minutes, live = await opened.projection_counts()
    assert {tuple(each[:5]): each[5] for each in minutes} == +model.minutes
    assert {tuple(each[:3]): each[3] for each in live if each[3]} == +model.live
    for wanted in ({}, {"session": "s1"}, {"name": "b"}, {"app": 1}):
        column = {"session": 2, "name": 5, "app": 1}
        found = [
            number
            for _, number in sorted((each[6], number) for number, each in model.kept.items())
            if all(model.kept[number][column[key]] == value for key, value in wanted.items())
        ]
        assert await opened.find_ids(**wanted) == found[:1_000]


@pytest.mark.parametrize(
    "seed", [*range(6), *(pytest.param(n, marks=pytest.mark.long) for n in range(6, 200))]
)
def test_what_is_found_and_counted_follows_from_what_happened(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projections, "MAX_PENDING_INDEX_ROWS", 20)
    chance = random.Random(seed)
    model = Model()
    now = START

    def an_event(**fixed: Any) -> Any:
        at = now - chance.choice([0, 0, 0, 1, 2, 5, 40]) * DAY_MICROS - chance.randrange(MINUTE * 3)
        if not fixed and chance.random() < 0.3:
            data = {"slot": chance.randrange(1, 5), "campaign": 1, "banner": chance.randrange(3)}
            return event_row("click", source=3, app=0, session=None, at=at, data=json.dumps(data))
        session = f"s{chance.randrange(4)}"
        more = {"app": chance.randrange(1, 3), **fixed}
        return event_row(chance.choice("abc"), session=session, at=at, **more)

    async def act(opened: OpenEventStore) -> None:
        nonlocal now
        deed = chance.choice(
            ["append"] * 4 + ["step", "time", "replace", "delete", "forget", "new"]
        )
        if deed == "append":
            rows = [an_event() for _ in range(chance.randrange(1, 9))]
            outcomes = await opened.log.append(rows, received=now)
            for (number, _), each in zip(outcomes, rows, strict=True):
                model.kept[number] = each
                model.received[number] = now
                model.at[number] = each[6]
                model.count(each)
        elif deed == "step":
            await opened.projections.step(chance.randrange(1, 30))
        elif deed == "time":
            now += chance.randrange(5 * DAY_MICROS)
            await opened.projections.catch_up()
            retention = EventRetention(opened.database, opened.projections, DAYS)
            while await retention.run_step(now):
                pass
            model.retain(now)
        elif deed == "new":
            await opened.projections.rebuild(lambda _: None)
        elif deed == "forget":
            session = f"s{chance.randrange(4)}"
            app = chance.choice([None, 1])
            theirs = [
                number
                for number, each in model.kept.items()
                if each[2] == session and app in (None, each[1])
            ]
            assert (await opened.mutations.erase_session(session, app)).events == len(theirs)
            for number in theirs:
                del model.kept[number]
        elif model.kept:
            number = chance.choice(sorted(model.kept))
            old = model.kept[number]
            if deed == "delete":
                assert await opened.mutations.delete(number)
                del model.kept[number]
            elif old[0] == 1:
                new = an_event(app=old[1])
                assert await opened.mutations.replace(number, new)
                # What the views have not had yet is as it is now from the beginning.
                model.count(old, -1)
                model.count(new)
                model.kept[number] = new
                model.at[number] = new[6]

    async def run() -> None:
        for _ in range(6):
            async with OpenEventStore(tmp_path) as opened:
                for _ in range(25):
                    await act(opened)
                await compare(opened, model)
            if chance.random() < 0.5:
                (tmp_path / "views.db").unlink()

    asyncio.run(run())
