"""What holds for every test."""

import os
from collections.abc import Generator
from typing import TypeVar

import pytest
from hypothesis import settings

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

# How long an example took says nothing on a busy machine. (Under CI hypothesis has its own.)
settings.register_profile("marquee", deadline=None)
if "CI" not in os.environ:
    settings.load_profile("marquee")


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
    return judge((yield), item.config)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A file that skips itself as a whole."""
    return judge((yield), collector.config)
