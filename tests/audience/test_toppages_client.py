"""The client of an upstream: request budgets, timeouts, connection limits."""

import asyncio
import contextlib
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import formatdate

import pytest

from background.audience.toppages_client import UpstreamToppagesClient
from domain.audience.toppages_format import TopPagesReading, encode_toppages
from store.api.errors import StoreRefused, UpstreamUnavailable
from tests.support.audience.faulty_upstream import FaultyUpstream

PAGES = [("/a", "A", 12), ("/b", "B", 3)]
READ = TopPagesReading({"/a": 12, "/b": 3}, {"/a": "A", "/b": "B"})


@pytest.fixture
def faulty() -> Iterator[FaultyUpstream]:
    upstream = FaultyUpstream()
    upstream.mode = "pages"
    yield upstream
    upstream.close()


def ask(faulty: FaultyUpstream, times: int = 1, version: str = "legacy", deadline: float = 1.0):
    """Read a host several times in sequence; return the readings and errors."""

    async def main():
        upstream = UpstreamToppagesClient(faulty.address, version, period=0.0, deadline=deadline)
        found = []
        for _ in range(times):
            try:
                found.append(await upstream.read("some key", "www.example.com"))
            except (UpstreamUnavailable, StoreRefused) as error:
                found.append(error)
        await upstream.close()
        return found

    return asyncio.run(main())


@pytest.mark.parametrize("version", ["legacy", "v3"])
def test_both_formats_are_read_with_the_key_in_its_place(faulty, version):
    faulty.pages_json = encode_toppages(PAGES, version)
    assert ask(faulty, version=version) == [READ]
    assert [each[1:] for each in faulty.requests] == [("some key", "www.example.com")]


@pytest.mark.parametrize("mode", ["gzip", "close", "chunked", "typed"])
@pytest.mark.parametrize("version", ["legacy", "v3"])
def test_every_transfer_coding_is_read(faulty, mode, version):
    faulty.pages_json = encode_toppages(PAGES, version)
    faulty.mode = mode
    assert ask(faulty, version=version) == [READ]


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("hang", "Timeout"),
        ("drip", "Timeout"),
        ("reset", ""),
        ("empty", ""),
        ("500", "answers 500"),
        ("redirect", "answers 302"),
        ("bad", "invalid response"),
        ("gigabyte", ""),
        ("chunks", ""),
        ("bomb", ""),
    ],
)
def test_failures_end_by_the_deadline_and_cost_little_memory(faulty, mode, words):
    faulty.mode = mode
    began = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (error,) = ask(faulty)
    assert isinstance(error, UpstreamUnavailable)
    assert words in str(error)
    assert time.monotonic() - began < 60
    if mode in ("gigabyte", "chunks"):  # the bomb is compressed in this process
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    assert faulty.redirected_requests == 0


def test_an_unknown_key_or_host_is_no_failure(faulty):
    faulty.mode = "404"
    found = ask(faulty, times=5)
    assert [type(each) for each in found] == [StoreRefused] * 5
    assert len(faulty.requests) == 5


@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [
        ("7", 7, 7),
        ("x", 60, 60),
        ("", 60, 60),
        ("-1", 60, 60),
        ("soon, 1 2 3", 60, 60),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 1),
        ("in 100 s", 98, 101),
        ("999999999", 3_600, 3_600),
        ("1e9", 60, 60),
        ("9" * 5_000, 3_600, 3_600),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 3_600, 3_600),
        ("Wed, 21 Oct 2015 07:28:00 +9999999999", 60, 60),
        ("0", 0, 0),
    ],
)
def test_retry_after_of_the_upstream_is_respected(faulty, retry_after, least, most):
    faulty.mode = "429"
    if retry_after == "in 100 s":
        retry_after = formatdate(time.time() + 100, usegmt=True)
    faulty.retry_after = retry_after
    first, second = ask(faulty, times=2)
    assert least <= first.wait <= most
    assert second.wait > 0
    assert len(faulty.requests) == 1


@pytest.mark.parametrize("mode", ["429", "503"])
def test_the_wait_for_a_proven_host_is_at_most_an_hour(faulty, mode):
    """A Retry-After of 30 years must not leave the host stale until a restart."""
    now = 1000.0

    async def main():
        nonlocal now
        upstream = UpstreamToppagesClient(faulty.address, "legacy", period=1.0, clock=lambda: now)
        await upstream.read("k", "h")
        faulty.mode, faulty.retry_after = mode, "999999999"
        for _ in range(2):
            with pytest.raises(UpstreamUnavailable) as away:
                await upstream.read("k", "h")
            assert 3_500 < away.value.wait <= 3_600
        asked = len(faulty.requests)
        faulty.mode = "pages"
        now += 3_601
        await upstream.read("k", "h")
        await upstream.close()
        return asked

    faulty.pages_json = encode_toppages(PAGES, "legacy")
    assert asyncio.run(main()) == 2


def strangers(
    faulty: FaultyUpstream, unknown: str, pair: Callable[[int], tuple[str, str]]
) -> list[str]:
    """Read a proven host once per 10 invented pairs; return the hosts requested upstream."""
    faulty.pages_json = encode_toppages(PAGES, "legacy")
    faulty.known_sites, faulty.unknown_mode, faulty.retry_after = {("k", "h")}, unknown, "3600"
    now = 1000.0

    async def stranger(upstream: UpstreamToppagesClient, number: int) -> None:
        with contextlib.suppress(UpstreamUnavailable, StoreRefused):
            await upstream.read(*pair(number))

    async def main():
        nonlocal now
        upstream = UpstreamToppagesClient(
            faulty.address, "legacy", period=5.0, deadline=1.0, clock=lambda: now
        )
        upstream.trust([("k", "h")])
        for turn in range(100):
            made_up = [asyncio.create_task(stranger(upstream, turn * 10 + n)) for n in range(10)]
            await asyncio.sleep(0)
            assert await upstream.read("k", "h") == READ
            await asyncio.gather(*made_up)
            now += 0.3  # the shortest interval between requests for a host
        await upstream.close()

    asyncio.run(main())
    return [host for _, key, host in faulty.requests if (key, host) != ("k", "h")]


@pytest.mark.parametrize("unknown", ["404", "429", "500", "503", "reset", "redirect"])
@pytest.mark.parametrize("host", ["h", "made-up-{}"])
def test_invented_keys_and_hosts_neither_delay_a_proven_host_nor_reach_the_upstream(
    faulty, unknown, host
):
    asked = strangers(faulty, unknown, lambda number: (f"{number}", host.format(number)))
    assert 1 <= len(asked) <= 20


def test_hanging_unknown_hosts_leave_connections_for_a_proven_host(faulty):
    faulty.pages_json = encode_toppages(PAGES, "legacy")
    faulty.known_sites, faulty.unknown_mode = {("k", "h")}, "hang"

    async def main():
        upstream = UpstreamToppagesClient(faulty.address, "legacy", period=5.0, deadline=4.0)
        upstream.trust([("k", "h")])
        made_up = [asyncio.create_task(upstream.read("k", f"{number}")) for number in range(100)]
        await asyncio.sleep(0)
        found = await upstream.read("k", "h")
        assert not all(task.done() for task in made_up)
        await asyncio.gather(*made_up, return_exceptions=True)
        await upstream.close()
        return found

    assert asyncio.run(main()) == READ
    assert len(faulty.requests) <= 6


def test_slow_hosts_leave_connections_for_others(faulty):
    faulty.pages_json = encode_toppages(PAGES, "legacy")
    faulty.known_sites, faulty.unknown_mode = {("k", "h")}, "hang"
    slow = [("k", f"{number}") for number in range(100)]

    async def main():
        upstream = UpstreamToppagesClient(faulty.address, "legacy", period=0.0, deadline=1.0)
        upstream.trust([("k", "h"), *slow])

        async def all_slow():
            hung = [asyncio.create_task(upstream.read(*pair)) for pair in slow]
            await asyncio.sleep(0)
            return hung

        # Until their speed is known, slow hosts may hold all connections once.
        for _ in range(5):
            await asyncio.gather(*await all_slow(), return_exceptions=True)
        hung = await all_slow()
        found = await upstream.read("k", "h")
        assert not all(task.done() for task in hung)
        await asyncio.gather(*hung, return_exceptions=True)
        await upstream.close()
        return found

    assert asyncio.run(main()) == READ


def test_new_hosts_are_bounded_even_if_all_respond(faulty):
    faulty.pages_json = b"[]"

    async def main():
        upstream = UpstreamToppagesClient(
            faulty.address, "legacy", period=5.0, deadline=5.0, clock=lambda: 1.0
        )
        for number in range(400):
            with contextlib.suppress(UpstreamUnavailable):
                await upstream.read("k", f"{number}")
        await upstream.close()

    asyncio.run(main())
    assert len(faulty.requests) == 300


def test_few_requests_reach_a_failing_upstream(faulty):
    faulty.mode = "500"

    async def main():
        upstream = UpstreamToppagesClient(faulty.address, "legacy", period=60.0, deadline=1.0)
        for number in range(50):
            with pytest.raises(UpstreamUnavailable):
                await upstream.read("k", f"host {number}")
        await upstream.close()

    asyncio.run(main())
    assert len(faulty.requests) == 3


def test_the_budget_per_minute_of_a_host_does_not_depend_on_keys(faulty):
    async def main():
        upstream = UpstreamToppagesClient(
            faulty.address, "legacy", period=1.0, deadline=2.0, clock=lambda: 1.0
        )
        refused = Counter()
        for turn in range(230):
            for key in (f"{turn}", "0"):
                try:
                    await upstream.read(key, "h")
                except UpstreamUnavailable as error:
                    assert 0 < error.wait <= 62
                    refused[key == "0"] += 1
        await upstream.read("other", "host")
        await upstream.close()
        return refused

    # New keys leave half of the budget to known keys.
    assert asyncio.run(main()) == {False: 180, True: 80}
    assert Counter(host for _, _, host in faulty.requests) == {"h": 200, "host": 1}
