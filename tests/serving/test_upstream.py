"""An upstream is asked as it wants to be; whatever it answers ends soon and costs little."""

import asyncio
import resource
import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest
from faulty import Faulty

from rules.toppages import Reading, tell
from store.errors import StoreAway, StoreRefused
from store.upstream import Upstream

PAGES = [("/a", "A", 12), ("/b", "B", 3)]
READ = Reading({"/a": 12, "/b": 3}, {"/a": "A", "/b": "B"})


@pytest.fixture
def faulty() -> Iterator[Faulty]:
    upstream = Faulty()
    upstream.mode = "pages"
    yield upstream
    upstream.close()


def ask(faulty: Faulty, times: int = 1, version: str = "legacy", deadline: float = 1.0):
    """What came of asking so many times, one after another."""

    async def main():
        upstream = Upstream(faulty.address, version, period=0.0, deadline=deadline)
        found = []
        for _ in range(times):
            try:
                found.append(await upstream.read("some key", "www.example.com"))
            except (StoreAway, StoreRefused) as error:
                found.append(error)
        await upstream.close()
        return found

    return asyncio.run(main())


@pytest.mark.parametrize("version", ["legacy", "v3"])
def test_pages_are_read_in_both_forms_with_the_key_where_it_belongs(faulty, version):
    faulty.pages = tell(PAGES, version)
    assert ask(faulty, version=version) == [READ]
    assert [each[1:] for each in faulty.asked] == [("some key", "www.example.com")]


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("hang", "Timeout"),
        ("drip", "Timeout"),
        ("reset", ""),
        ("empty", ""),
        ("500", "answers 500"),
        ("redirect", "answers 302"),
        ("bad", "does not tell pages"),
        ("gigabyte", ""),
        ("chunks", ""),
        ("bomb", ""),
    ],
)
def test_whatever_goes_wrong_is_over_by_the_deadline_and_costs_little(faulty, mode, words):
    faulty.mode = mode
    began = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (error,) = ask(faulty)
    assert isinstance(error, StoreAway)
    assert words in str(error)
    assert time.monotonic() - began < 5
    if mode in ("gigabyte", "chunks"):  # the bomb is packed in this very process
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    assert faulty.inside == 0


def test_a_key_or_host_that_it_does_not_know_is_no_failure(faulty):
    faulty.mode = "404"
    found = ask(faulty, times=5)
    assert [type(each) for each in found] == [StoreRefused] * 5
    assert len(faulty.asked) == 5


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        ("7", 7, 7),
        ("x", 60, 60),
        ("", 60, 60),
        ("-1", 60, 60),
        ("soon, 1 2 3", 60, 60),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 1),
        ("in 100 s", 98, 101),
    ],
)
def test_when_it_has_been_asked_too_often_it_is_left_alone(faulty, said, least, most):
    faulty.mode = "429"
    if said == "in 100 s":
        said = formatdate(time.time() + 100, usegmt=True)
    faulty.retry_after = said
    first, second = ask(faulty, times=2)
    assert least <= first.wait <= most
    assert second.wait > 0
    assert len(faulty.asked) == 1


def test_while_it_fails_few_tries_get_through(faulty):
    faulty.mode = "500"

    async def main():
        upstream = Upstream(faulty.address, "legacy", period=60.0, deadline=1.0)
        for number in range(50):
            with pytest.raises(StoreAway):
                await upstream.read("k", f"host {number}")
        await upstream.close()

    asyncio.run(main())
    assert len(faulty.asked) == 3


def test_a_host_has_its_budget_of_a_minute_whatever_the_keys(faulty):
    async def main():
        upstream = Upstream(faulty.address, "legacy", period=1.0, deadline=2.0)
        refused = 0
        for number in range(230):
            try:
                await upstream.read(f"{number}", "h")
            except StoreAway as error:
                assert 0 < error.wait <= 62
                refused += 1
        await upstream.read("other", "host")
        await upstream.close()
        return refused

    assert asyncio.run(main()) == 30
    assert sum(host == "h" for _, _, host in faulty.asked) == 200
