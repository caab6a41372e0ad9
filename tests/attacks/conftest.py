"""One server that is attacked, and one whose guards are taken out, for all tables of attacks."""

from collections.abc import Iterator

import pytest

from tests.support.server_process import MarqueeProcess
from tests.support.web.attack_target import AttackTarget, UnprotectedProcess
from tests.support.web.browser import start_chromium


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackTarget]:
    """A server as it is."""
    made = AttackTarget(MarqueeProcess, tmp_path_factory.mktemp("target") / "data")
    yield made
    made.stop()


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A browser."""
    made = start_chromium(tmp_path_factory.mktemp("profile"))
    yield made
    made.quit()


@pytest.fixture(scope="session")
def weakened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackTarget]:
    """The same without its guards: an attack that fails here shows nothing there."""
    made = AttackTarget(UnprotectedProcess, tmp_path_factory.mktemp("weakened") / "data")
    yield made
    made.stop()
