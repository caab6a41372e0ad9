"""What holds for every test."""

import asyncio
import os
from collections.abc import Generator, Iterator
from typing import Any, TypeVar
from weakref import WeakSet

import aiosqlite
import pytest
from hypothesis import settings

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

# How long an example took says nothing on a busy machine. (Under CI hypothesis has its own.)
settings.register_profile("marquee", deadline=None)
if "CI" not in os.environ:
    settings.load_profile("marquee")


# Each has a thread that the process waits for at its end, so that one that stays open hangs it.
CONNECTIONS: "WeakSet[aiosqlite.Connection]" = WeakSet()
PASSED = pytest.StashKey[bool]()
make_connection = aiosqlite.Connection.__init__


def noted(self: aiosqlite.Connection, *words: Any, **more: Any) -> None:
    """Make a connection, and know of it."""
    make_connection(self, *words, **more)
    CONNECTIONS.add(self)


aiosqlite.Connection.__init__ = noted  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def no_database_stays_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """One that a test leaves open is closed; the test has failed then, if it had not already."""
    before = set(CONNECTIONS)
    yield
    left = [each for each in CONNECTIONS if each not in before and each._running]
    left = [each for each in left if each._thread.is_alive()]
    loop = asyncio.new_event_loop()
    for each in left:
        # What it was given may belong to a loop that is gone; it ends by that, too.
        loop.run_until_complete(asyncio.wait([loop.create_task(each.close())], timeout=5))
        each._thread.join(5)
    loop.close()
    if left and request.node.stash.get(PASSED, False):
        pytest.fail(f"{len(left)} connections to databases were left open")


def pytest_addoption(parser: pytest.Parser) -> None:
    """For places where all that tests need is installed."""
    parser.addoption("--no-skips", action="store_true", help="a skipped test is a failed one")


def judge(report: Report, config: pytest.Config) -> Report:
    """The report, a failure if it is of a skip that is not allowed."""
    expected = hasattr(report, "wasxfail")
    if report.skipped and not expected and config.getoption("--no-skips"):
        where = report.longrepr
        reason = where[2] if isinstance(where, tuple) else str(where)
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: {reason} (and --no-skips is set)"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that skips itself, or that a mark skips."""
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    return judge(report, item.config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file that skips itself as a whole."""
    return judge((yield), collector.config)
