"""Event loop threads for HTTP servers, and a check of their logs."""

import logging
from collections.abc import Iterator

import pytest

from tests.support.httpserver.server_thread import ServerThread


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def stage(request: pytest.FixtureRequest) -> Iterator[ServerThread]:
    """Return a thread with each kind of event loop."""
    stage = ServerThread(request.param)
    yield stage
    stage.close()
    stage.assert_no_loop_errors()


@pytest.fixture(scope="module")
def fast_stage() -> Iterator[ServerThread]:
    """Return a thread with uvloop, for long tests that do not depend on the loop."""
    stage = ServerThread("uvloop")
    yield stage
    stage.close()
    stage.assert_no_loop_errors()


@pytest.fixture(autouse=True)
def fail_on_logged_errors(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail tests that log errors; a test that expects some clears the log."""
    caplog.set_level(logging.WARNING)
    yield
    errors = [each for each in caplog.get_records("call") if each.levelno >= logging.ERROR]
    assert not errors, [(each.getMessage(), each.exc_info) for each in errors]
