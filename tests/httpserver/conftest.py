"""Servers in threads of their own, and a watch over what they log."""

import logging
from collections.abc import Iterator

import pytest

from tests.support.httpserver.server_thread import ServerThread


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def stage(request: pytest.FixtureRequest) -> Iterator[ServerThread]:
    """Both loops."""
    stage = ServerThread(request.param)
    yield stage
    stage.close()
    stage.assert_no_loop_errors()


@pytest.fixture(scope="module")
def fast_stage() -> Iterator[ServerThread]:
    """uvloop alone, for what takes long and knows no loop."""
    stage = ServerThread("uvloop")
    yield stage
    stage.close()
    stage.assert_no_loop_errors()


@pytest.fixture(autouse=True)
def nothing_is_logged_unawares(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No test may end with an error in the log that it did not expect (and `clear`)."""
    caplog.set_level(logging.WARNING)
    yield
    bad = [each for each in caplog.get_records("call") if each.levelno >= logging.ERROR]
    assert not bad, [(each.getMessage(), each.exc_info) for each in bad]
