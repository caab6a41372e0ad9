"""Fixtures and hooks of all tests."""

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

# A busy machine makes examples slow. Hypothesis has its own profile for CI.
settings.register_profile("marquee", deadline=None)
if "CI" not in os.environ:
    settings.load_profile("marquee")


# The process waits at its end for the thread of each connection, so an open one would hang it.
OPEN_CONNECTIONS: "WeakSet[aiosqlite.Connection]" = WeakSet()
HAS_PASSED = pytest.StashKey[bool]()
init_connection = aiosqlite.Connection.__init__


def init_and_track(self: aiosqlite.Connection, *args: Any, **options: Any) -> None:
    """Initialize a connection and track it."""
    init_connection(self, *args, **options)
    OPEN_CONNECTIONS.add(self)


aiosqlite.Connection.__init__ = init_and_track  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def fail_on_open_databases(request: pytest.FixtureRequest) -> Iterator[None]:
    """Close the database connections that a test leaves open, and fail the test."""
    before = set(OPEN_CONNECTIONS)
    yield
    still_open = [each for each in OPEN_CONNECTIONS if each not in before and each._running]
    still_open = [each for each in still_open if each._thread.is_alive()]
    loop = asyncio.new_event_loop()
    for each in still_open:
        # `close` may fail, since the connection may belong to a closed event loop; its thread ends.
        loop.run_until_complete(asyncio.wait([loop.create_task(each.close())], timeout=5))
        each._thread.join(5)
    loop.close()
    if still_open and request.node.stash.get(HAS_PASSED, False):
        pytest.fail(f"{len(still_open)} database connections are still open")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add an option for machines on which every requirement of the tests is installed."""
    parser.addoption("--no-skips", action="store_true", help="report skipped tests as failed")


def fail_if_skipped(report: Report, config: pytest.Config) -> Report:
    """Change the outcome of a skipped test to failed if `--no-skips` is set."""
    is_expected = hasattr(report, "wasxfail")
    if report.skipped and not is_expected and config.getoption("--no-skips"):
        skip = report.longrepr
        reason = skip[2] if isinstance(skip, tuple) else str(skip)
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid}: {reason} (and --no-skips is set)"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail tests that skip themselves or are skipped by a mark."""
    report = yield
    if report.when == "call":
        item.stash[HAS_PASSED] = report.passed
    return fail_if_skipped(report, item.config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail files that skip themselves."""
    return fail_if_skipped((yield), collector.config)


@pytest.fixture(scope="session")
def run_command() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs a command to its end."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "server.py", *arguments],
            cwd=ROOT,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=240,
        )

    return run


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., MarqueeProcess]]:
    """Return a function that starts servers, by default on the same data folder."""
    servers: list[MarqueeProcess] = []

    def start(*arguments: str, data: Path | None = None, **environment: str) -> MarqueeProcess:
        servers.append(MarqueeProcess(data or tmp_path / "data", *arguments, **environment))
        return servers[-1]

    yield start
    for server in servers:
        if server.process.returncode is None:
            server.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def sample_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarqueeProcess]:
    """A server with sample data for all tests of a module, which must not change it."""
    server = MarqueeProcess(tmp_path_factory.mktemp("sample") / "data", "--sample")
    yield server
    assert server.stop() == 0, server.log
    assert "Traceback" not in server.log


@pytest.fixture(scope="module")
def empty_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MarqueeProcess]:
    """A server without sample data for all tests of a module."""
    server = MarqueeProcess(tmp_path_factory.mktemp("served") / "data")
    yield server
    assert server.stop() == 0, server.log
    assert "Traceback" not in server.log, server.log


@pytest.fixture(scope="module", params=["wire", "tornado"])
def each_server_kind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MarqueeProcess]:
    """A server with sample data on each HTTP server, for all tests of a module."""
    data = tmp_path_factory.mktemp(request.param) / "data"
    server = MarqueeProcess(data, "--sample", "--no-traffic", "--server", request.param, "--json")
    yield server
    assert server.stop() == 0, server.log
    assert "Traceback" not in server.log, server.log


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A browser for all tests of a module."""
    from tests.support.web.browser import start_chromium

    driver = start_chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()
