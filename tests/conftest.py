"""What holds for every test."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

import aiosqlite
import pytest
from hypothesis import settings

from tests.support import ROOT
from tests.support.server_process import MarqueeProcess

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


@pytest.fixture(scope="session")
def run_command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """One command, to its end."""

    def end(*words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "server.py", *words],
            cwd=ROOT,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
            timeout=240,
        )

    return end


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., MarqueeProcess]]:
    """Start servers, by default on one data folder; all are ended after the test."""
    running: list[MarqueeProcess] = []

    def begin(*words: str, data: Path | None = None, **environ: str) -> MarqueeProcess:
        running.append(MarqueeProcess(data or tmp_path / "data", *words, **environ))
        return running[-1]

    yield begin
    for each in running:
        if each.process.returncode is None:
            each.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def sample_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarqueeProcess]:
    """One server with sample data, for all tests of a module that change nothing."""
    running = MarqueeProcess(tmp_path_factory.mktemp("sample") / "data", "--sample")
    yield running
    assert running.stop() == 0, running.log
    assert "Traceback" not in running.log


@pytest.fixture(scope="module")
def empty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarqueeProcess]:
    """One server without a sample, for all tests of a module that share its counts alone."""
    running = MarqueeProcess(tmp_path_factory.mktemp("served") / "data")
    yield running
    assert running.stop() == 0, running.log
    assert "Traceback" not in running.log, running.log


@pytest.fixture(scope="module", params=["wire", "tornado"])
def each_server_kind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MarqueeProcess]:
    """A server with the sample, of each kind, for all tests of a module that change nothing."""
    data = tmp_path_factory.mktemp(request.param) / "data"
    running = MarqueeProcess(data, "--sample", "--no-traffic", "--server", request.param, "--json")
    yield running
    assert running.stop() == 0, running.log
    assert "Traceback" not in running.log, running.log


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    """One browser for all tests of a module."""
    from tests.support.web.browser import start_chromium

    driver = start_chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()
