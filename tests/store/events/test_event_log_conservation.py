"""Whatever comes, received = stored + duplicate + rejected + refused, and each event once."""

import asyncio
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from store.api.errors import StoreFull
from store.sqlite.core.database import Database
from store.sqlite.events.event_log import EventLog
from tests.support.banners.campaign_files import query_rows
from tests.support.events.event_rows import blocked_writer, event_row, log_counts, row_of_sender

APPS = st.integers(1, 2)
Sent = st.builds(
    lambda app, sender, body: row_of_sender(sender, body, app=app),
    APPS,
    st.sampled_from("abcdef"),
    st.sampled_from([b"1", b"2"]),
)
Plain = st.builds(lambda app: event_row(app=app), APPS)
Unfit = st.just(event_row(session="\ud800"))
Requests = st.lists(
    st.tuples(
        st.lists(st.one_of(Sent, Sent, Plain, Unfit), max_size=6),
        st.integers(0, 2),  # wrong ones
        st.integers(0, 2),  # refused ones
    ),
    min_size=1,
    max_size=5,
)


class Conservation(RuleBasedStateMachine):
    """A log, and what it should have become."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp())
        self.counted: Counter[str] = Counter()
        self.senders: dict[tuple[int, str], tuple[int, bytes]] = {}
        self.ids: list[int] = []
        self.moment = 0

    @initialize()
    def open(self) -> None:
        async def run() -> None:
            self.database = await Database.open(self.folder / "marquee.db")
            self.log = await EventLog.open(self.database)

        self.runner.run(run())

    def teardown(self) -> None:
        self.runner.run(self.database.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    @rule(requests=Requests, back=st.integers(-5, 5))
    def append(self, requests: list[tuple[list[Any], int, int]], back: int) -> None:
        self.moment += back * 1_000

        async def run() -> list[list[tuple[int, str]]]:
            with blocked_writer(self.database):
                futures = [
                    self.log.append(
                        some,
                        [(1, b"{", "[]")] * wrong,
                        refused=refused,
                        received=max(0, self.moment),
                    )
                    for some, wrong, refused in requests
                ]
                await asyncio.sleep(0)
            return await asyncio.gather(*futures)

        told = self.runner.run(run())
        for (some, wrong, refused), outcomes in zip(requests, told, strict=True):
            self.counted.update(rejected=wrong, refused=refused)
            for each, (number, verdict) in zip(some, outcomes, strict=True):
                self.check(each, number, verdict)

    def check(self, each: Any, number: int, verdict: str) -> None:
        _, app, session, *_, sender, digest, _ = each
        first, body = self.senders.get((app, sender), (None, None))
        if session == "\ud800":
            assert verdict == "rejected"
        elif first is not None:
            assert (number, verdict) == (first, "duplicate" if digest == body else "conflict")
        else:
            assert verdict == "stored"
            assert number > max(self.ids, default=-1)
            self.ids.append(number)
            if sender is not None:
                self.senders[app, sender] = number, digest
        self.counted["rejected" if verdict == "conflict" else verdict] += 1

    @rule(items=st.integers(1, 3))
    def refuse(self, items: int) -> None:
        async def run() -> None:
            self.log.count_refused(items)
            await self.log.drain()

        self.runner.run(run())
        self.counted["refused"] += items

    @rule(some=st.lists(Sent, min_size=1, max_size=3), wrong=st.integers(0, 2))
    def find_the_disk_full(self, some: list[Any], wrong: int) -> None:
        async def run() -> None:
            def room(pages: int) -> Any:
                sql = f"PRAGMA max_page_count = {pages}"
                return lambda connection: connection.execute(sql).fetchone()

            await self.database.write(room(1))
            large = event_row(data="x" * 1_000_000)
            try:
                await self.log.append([large, *some], [(1, b"{", "[]")] * wrong)
            except StoreFull:
                await self.database.write(room(1_000_000))
                await self.log.drain()
            else:
                raise AssertionError("it was not full")

        self.runner.run(run())
        self.counted["refused"] += 1 + len(some) + wrong

    @rule(
        each=st.one_of(Plain, Sent, Unfit),
        chance=st.randoms(use_true_random=False),
    )
    def replay(self, each: Any, chance: Any) -> None:
        rejects = [number for (number,) in query_rows(self.folder, "SELECT id FROM event_reject")]
        if not rejects:
            return
        reject = chance.choice(rejects)

        async def run() -> list[tuple[int, str]]:
            return await self.log.replay(reject, each, received=max(0, self.moment))

        [(number, verdict)] = self.runner.run(run())
        before = self.counted["rejected"]
        self.check(each, number, verdict)
        moved = verdict in ("stored", "duplicate")
        self.counted["rejected"] = before - moved
        kept = query_rows(self.folder, f"SELECT count(*) FROM event_reject WHERE id = {reject}")
        assert kept == [(0 if moved else 1,)]

    @rule()
    def restart(self) -> None:
        self.runner.run(self.database.close())
        self.open()

    @invariant()
    def all_is_counted_as_it_was_committed(self) -> None:
        of = self.counted
        expected = (of["stored"], of["duplicate"], of["rejected"], of["refused"])
        assert log_counts(self.log) == expected
        sql = "SELECT stored, duplicate, rejected, refused, received FROM log"
        assert query_rows(self.folder, sql) == [(*expected, sum(expected))]
        found = query_rows(self.folder, "SELECT id FROM event ORDER BY id")
        assert found == [(number,) for number in self.ids]
        assert self.log.queued_bytes == 0


TestConservation = Conservation.TestCase
TestConservation.settings = settings(max_examples=25, stateful_step_count=20)
