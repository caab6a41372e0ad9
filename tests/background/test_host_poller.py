"""Host poller: one shared reading per host at a time, on schedule, within limits."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from background.audience import host_poller
from background.audience.host_poller import IDLE_AFTER_SECONDS, IDLE_INTERVAL_SECONDS, HostPoller
from domain.audience.seasonal_baseline import NO_SEASONAL_BASELINE, SeasonalBaseline
from domain.audience.toppages_format import TopPagesReading
from domain.audience.visitor_history import MinuteTotals
from store.api.errors import StoreBusy, StoreError, StoreRefused, UpstreamUnavailable

T = TypeVar("T")
Key = tuple[str, str]


class ScriptedSource:
    """An upstream with configurable readings, errors and delays."""

    name = "fake"
    a_minute: int | None = None
    in_all: int | None = None
    refusals_kept = 3.0

    def __init__(self) -> None:
        self.visitors = {"/": 10}
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.asked: Counter[Key] = Counter()
        self.under_way: Counter[Key] = Counter()
        self.most_at_once = 0

    async def read(self, key: str, host: str) -> TopPagesReading:
        self.asked[key, host] += 1
        self.under_way[key, host] += 1
        self.most_at_once = max(self.most_at_once, self.under_way[key, host])
        try:
            if self.gate is not None:
                await self.gate.wait()
            if self.error is not None:
                raise self.error
            return TopPagesReading(dict(self.visitors), {"/": "Home"})
        finally:
            self.under_way[key, host] -= 1


class PollerStage:
    """A poller with a manual clock."""

    def __init__(self, most: int = 200) -> None:
        self.now = 1_000_000_020.0
        self.source = ScriptedSource()
        self.kept: list[tuple[Key, MinuteTotals, dict[str, str]]] = []
        self.remembered = 0
        self.sampler = HostPoller(
            self.source,
            self.keep,
            self.remember,
            most=most,
            clock=lambda: self.now,
            wall=lambda: self.now,
            chance=lambda: 0.5,
        )

    async def keep(self, key: Key, closed: MinuteTotals, titles: dict[str, str]) -> None:
        self.kept.append((key, closed, titles))

    async def remember(self, key: Key) -> SeasonalBaseline:
        self.remembered += 1
        return NO_SEASONAL_BASELINE

    async def go(self, seconds: float) -> None:
        """Advance the clock by single seconds and run what is due."""
        for _ in range(round(seconds)):
            self.now += 1
            self.sampler.once()
            await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def run(work: Callable[[PollerStage], Awaitable[T]], most: int = 200) -> T:
    async def main() -> T:
        stage = PollerStage(most)
        try:
            return await work(stage)
        finally:
            await stage.sampler.close()

    return asyncio.run(main())


def test_a_thousand_concurrent_first_requests_cost_one_reading() -> None:
    async def work(stage: PollerStage) -> None:
        stage.source.gate = asyncio.Event()
        requests = [asyncio.create_task(stage.sampler.ask("k", "h")) for _ in range(1_000)]
        await settle()
        stage.source.gate.set()
        polled = {id(await each) for each in requests}
        assert len(polled) == 1
        assert stage.source.asked == {("k", "h"): 1}
        assert (await stage.sampler.ask("k", "h")).gains == []

    run(work)


def test_a_host_is_polled_every_interval_and_reports_gains() -> None:
    async def work(stage: PollerStage) -> None:
        watch = await stage.sampler.ask("k", "h")
        stage.source.visitors = {"/": 12, "/new": 3}
        await stage.go(5)
        assert watch.gains == [(2, "/")]
        stage.source.visitors = {"/": 12, "/new": 4}
        await stage.go(5)
        assert watch.gains == [(1, "/new")]
        assert watch.readings == 3
        assert watch.as_of == stage.now

    run(work)


def test_a_reading_without_a_recent_predecessor_has_no_gains() -> None:
    async def work(stage: PollerStage) -> None:
        watch = await stage.sampler.ask("k", "h")
        stage.source.error = UpstreamUnavailable("away")
        await stage.go(20)
        stage.source.error = None
        stage.source.visitors = {"/": 50}
        await stage.go(5)
        assert watch.readings == 2
        assert watch.gains == []

    run(work)


def test_a_host_has_at_most_one_reading_in_flight() -> None:
    async def work(stage: PollerStage) -> None:
        watch = await stage.sampler.ask("k", "h")
        stage.source.gate = asyncio.Event()
        await stage.go(60)
        assert stage.source.most_at_once == 1
        assert stage.source.asked["k", "h"] == 2
        requests = [asyncio.create_task(stage.sampler.ask("k", "h")) for _ in range(9)]
        await settle()
        assert stage.source.asked["k", "h"] == 2
        stage.source.gate.set()
        await asyncio.gather(*requests)
        assert watch.readings == 2

    run(work)


def test_the_last_reading_is_served_while_the_upstream_fails() -> None:
    async def work(stage: PollerStage) -> None:
        first = await stage.sampler.ask("k", "h")
        stage.source.error = UpstreamUnavailable("away")
        await stage.go(40)
        watch = await stage.sampler.ask("k", "h")
        assert watch is first
        assert watch.reading is not None
        assert stage.sampler.age(watch) == 40
        assert stage.sampler.stale(watch)
        asked = stage.source.asked["k", "h"]
        for _ in range(100):
            await stage.sampler.ask("k", "h")
        assert stage.source.asked["k", "h"] == asked
        stage.source.error = None
        await stage.go(5)
        assert not stage.sampler.stale(watch)
        assert stage.sampler.age(watch) <= 5

    run(work)


def test_a_host_without_a_reading_raises_the_error_and_is_not_read_again() -> None:
    async def work(stage: PollerStage) -> None:
        stage.source.error = UpstreamUnavailable("the upstream is down")
        for _ in range(50):
            with pytest.raises(UpstreamUnavailable, match="down"):
                await stage.sampler.ask("k", "h")
        assert stage.source.asked["k", "h"] == 1
        stage.source.error = None
        await stage.go(5)
        assert (await stage.sampler.ask("k", "h")).reading is not None

    run(work)


def test_retry_after_of_the_source_is_respected() -> None:
    async def work(stage: PollerStage) -> None:
        await stage.sampler.ask("k", "h")
        stage.source.error = UpstreamUnavailable("too often", 30.0)
        await stage.go(5)
        assert stage.source.asked["k", "h"] == 2
        await stage.go(29)
        assert stage.source.asked["k", "h"] == 2
        stage.source.error = None
        await stage.go(1)
        assert stage.source.asked["k", "h"] == 3

    run(work)


def test_an_unknown_key_or_host_is_refused_and_not_polled() -> None:
    async def work(stage: PollerStage) -> None:
        stage.source.error = StoreRefused("no such key")
        for _ in range(20):
            with pytest.raises(StoreRefused, match="no such key"):
                await stage.sampler.ask("k", "h")
        assert stage.source.asked["k", "h"] == 1
        assert not stage.sampler.watches
        stage.source.error = None
        stage.now += 4
        assert (await stage.sampler.ask("k", "h")).readings == 1

    run(work)


def test_a_revoked_key_ends_polling() -> None:
    async def work(stage: PollerStage) -> None:
        watch = await stage.sampler.ask("k", "h")
        waiting = asyncio.create_task(watch.next.wait())
        stage.source.error = StoreRefused("revoked")
        await stage.go(6)
        assert watch.gone
        assert waiting.done()
        with pytest.raises(StoreRefused):
            await stage.sampler.ask("k", "h")

    run(work)


def test_an_unexpected_error_is_logged_and_polling_continues(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(stage: PollerStage) -> None:
        watch = await stage.sampler.ask("k", "h")
        stage.source.error = ZeroDivisionError("oops")
        await stage.go(6)
        stage.source.error = None
        await stage.go(6)
        assert watch.readings == 2

    run(work)
    assert "a reading failed" in caplog.text


def test_an_idle_host_is_polled_once_an_hour() -> None:
    async def work(stage: PollerStage) -> None:
        await stage.sampler.ask("k", "h")
        await stage.go(IDLE_AFTER_SECONDS + 10)
        before = stage.source.asked["k", "h"]
        assert before == pytest.approx(IDLE_AFTER_SECONDS / 5, abs=4)
        await stage.go(IDLE_INTERVAL_SECONDS * 3)
        assert stage.source.asked["k", "h"] - before == pytest.approx(3, abs=1)
        # A request then gets a fresh reading and resumes polling.
        await stage.go(60)
        asked = stage.source.asked["k", "h"]
        await asyncio.gather(*(stage.sampler.ask("k", "h") for _ in range(5)))
        assert stage.source.asked["k", "h"] == asked + 1
        await stage.go(20)
        assert stage.source.asked["k", "h"] >= asked + 4

    run(work)


def test_a_request_for_an_idle_host_resumes_polling() -> None:
    async def work(stage: PollerStage) -> None:
        watch = await stage.sampler.ask("k", "h")
        await stage.go(IDLE_AFTER_SECONDS + 10)
        number = watch.readings
        while watch.readings == number:
            await stage.go(1)
        await stage.go(2)
        assert await stage.sampler.ask("k", "h") is watch
        await stage.go(10)
        assert watch.readings >= number + 3

    run(work)


def test_polled_hosts_are_limited_and_idle_hosts_are_replaced() -> None:
    async def work(stage: PollerStage) -> None:
        for number in range(3):
            await stage.sampler.ask("k", f"{number}")
        with pytest.raises(StoreBusy):
            await stage.sampler.ask("k", "3")
        await stage.go(IDLE_AFTER_SECONDS - 5)
        await stage.sampler.ask("k", "0")
        await stage.go(10)
        watch = await stage.sampler.ask("k", "3")  # replaces an idle host
        assert watch.readings == 1
        assert len(stage.sampler.watches) == 3
        assert any(each.host == "0" for each in stage.sampler.watches)

    run(work, most=3)


def test_a_host_without_visitors_is_replaced_by_a_new_host() -> None:
    async def work(stage: PollerStage) -> None:
        await stage.sampler.ask("k", "real")
        stage.source.visitors = {}
        for number in range(20):
            await stage.sampler.ask("k", f"made-up-{number}")
        assert len(stage.sampler.watches) == 3
        stage.source.visitors = {"/": 1}
        await stage.sampler.ask("k", "also-real")
        hosts = {each.host for each in stage.sampler.watches}
        assert hosts == {"real", "also-real", "made-up-19"}
        stage.source.visitors = {}
        await stage.go(130)
        assert {key[1] for key, *_ in stage.kept} == {"real", "also-real"}

    run(work, most=3)


def test_a_host_without_any_reading_is_read_only_on_request() -> None:
    async def work(stage: PollerStage) -> None:
        stage.source.error = UpstreamUnavailable("down")
        with pytest.raises(UpstreamUnavailable):
            await stage.sampler.ask("k", "h")
        await stage.go(60)
        assert stage.source.asked["k", "h"] == 1
        with pytest.raises(UpstreamUnavailable):
            await stage.sampler.ask("k", "h")
        assert stage.source.asked["k", "h"] == 2

    run(work)


def test_invented_keys_for_a_host_do_not_slow_its_readings() -> None:
    async def work(stage: PollerStage) -> None:
        stage.source.a_minute, stage.source.in_all = 200, 3_000
        watch = await stage.sampler.ask("k", "h")
        stage.source.error = UpstreamUnavailable("not now")
        for number in range(150):
            with pytest.raises(UpstreamUnavailable):
                await stage.sampler.ask(f"{number}", "h")
        stage.source.error = None
        readings = watch.readings
        await stage.go(60)
        assert watch.readings - readings >= 11

    run(work)


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("", "h"), ("k" * 1_001, "h"), ("k\r\nX: y", "h"), ("\u043a", "h"), ("k\0", "h"),
        ("k", ""), ("k", "h/path"), ("k", "a b"), ("k", "h" * 300), ("k", "H"), ("k", "h."),
        ("k", "h?x=1"), ("k", "user@h"), ("k", "[::1"), ("k", "h:99999"),
    ],
)  # fmt: skip
def test_an_invalid_key_or_host_is_refused_without_a_read_or_an_entry(key: str, host: str) -> None:
    async def work(stage: PollerStage) -> None:
        with pytest.raises(StoreRefused, match="invalid"):
            await stage.sampler.ask(key, host)
        assert not stage.source.asked
        assert not stage.sampler.watches
        assert not stage.sampler._refused

    run(work)


def test_many_new_keys_for_a_host_do_not_use_up_its_requests_in_the_first_minute() -> None:
    async def work(stage: PollerStage) -> None:
        stage.source.a_minute, stage.source.in_all = 200, 3_000
        for number in range(100):
            await stage.sampler.ask(f"{number}", "h")
        for _ in range(6):
            await stage.go(10)
            for number in range(100):
                await stage.sampler.ask(f"{number}", "h")
        # 100 first readings, the others at the usual rate.
        assert stage.source.asked.total() <= 300
        assert min(stage.source.asked[f"{number}", "h"] for number in range(4)) >= 12

    run(work)


def test_a_refusal_is_cached_for_the_time_set_by_the_source() -> None:
    async def work(stage: PollerStage) -> None:
        stage.source.error = StoreRefused("no such key")
        for _ in range(10):
            with pytest.raises(StoreRefused):
                await stage.sampler.ask("k", "h")
            stage.now += 0.25
        assert stage.source.asked["k", "h"] == 1
        stage.now += 1
        with pytest.raises(StoreRefused):
            await stage.sampler.ask("k", "h")
        assert stage.source.asked["k", "h"] == 2

    run(work)


def test_listeners_are_notified_when_a_reading_becomes_stale() -> None:
    async def work(stage: PollerStage) -> None:
        watch = await stage.sampler.ask("k", "h")
        stage.source.error = UpstreamUnavailable("away")
        await stage.go(10)
        number, waiting = watch.number, asyncio.create_task(watch.next.wait())
        watch.keep("something", "made")
        watch.windows.add(7)
        await stage.go(10)
        assert (watch.number, watch.readings) == (number + 1, 1)
        assert waiting.done()
        assert watch.stale
        assert not watch.made
        assert not watch.windows
        await stage.go(30)
        assert watch.number == number + 1
        stage.source.error = None
        await stage.go(10)
        assert not watch.stale

    run(work)


def test_keys_of_one_host_share_its_upstream_limit() -> None:
    async def work(stage: PollerStage) -> None:
        stage.source.a_minute, stage.source.in_all = 200, 3_000
        for number in range(50):
            await stage.sampler.ask(f"{number}", "h")
        before = stage.source.asked.total()
        await stage.go(120)
        assert stage.source.asked.total() - before <= 400
        assert min(stage.source.asked.values()) >= 6
        # Later keys do not delay the oldest.
        assert min(stage.source.asked[f"{number}", "h"] for number in range(4)) >= 24

    run(work)


@pytest.mark.parametrize("known", range(8))
def test_a_new_key_beside_known_keys_gets_the_upstream_error(known: int) -> None:
    async def work(stage: PollerStage) -> None:
        stage.source.a_minute, stage.source.in_all = 20, 3_000
        for number in range(known):
            await stage.sampler.ask(f"{number}", "h")
        stage.source.error = UpstreamUnavailable("not now")
        with pytest.raises(UpstreamUnavailable):
            await stage.sampler.ask("new", "h")

    run(work)


def test_complete_minutes_are_stored_and_the_last_part_at_close() -> None:
    async def work(stage: PollerStage) -> None:
        await stage.sampler.ask("k", "h")
        await stage.go(70)
        ((key, closed, titles),) = stage.kept
        assert key == ("k", "h")
        assert closed.sums["/"] == 10 * closed.readings
        assert titles == {"/": "Home"}
        assert stage.remembered == 1
        await stage.sampler.close()
        read = stage.source.asked["k", "h"]
        assert sum(each.readings for _, each, _ in stage.kept) == read

    run(work)


def test_polling_continues_when_minutes_cannot_be_stored(caplog: pytest.LogCaptureFixture) -> None:
    async def work(stage: PollerStage) -> None:
        async def full(*_: object) -> None:
            raise StoreError("the disk is full")

        stage.sampler._keep = full
        watch = await stage.sampler.ask("k", "h")
        await stage.go(200)
        assert watch.readings > 30

    run(work)
    assert "the disk is full" in caplog.text


def test_polled_hosts_resume_as_idle_after_a_restart() -> None:
    async def work(stage: PollerStage) -> None:
        stage.sampler.resume([("k", f"{number}") for number in range(10)])
        assert len(stage.sampler.watches) == 5
        await stage.go(IDLE_INTERVAL_SECONDS * 1.2)
        assert set(stage.source.asked.values()) == {1}
        assert (await stage.sampler.ask("k", "0")).readings == 2

    run(work, most=5)


def test_the_next_check_is_when_the_next_host_is_due() -> None:
    async def work(stage: PollerStage) -> None:
        assert stage.sampler.once() == host_poller.CHECK_INTERVAL_SECONDS
        watch = await stage.sampler.ask("k", "h")
        watch.due = stage.now + 0.25
        assert stage.sampler.once() == pytest.approx(0.25)

    run(work)
