"""One server that is attacked, and one whose guards are taken out, for all tables of attacks."""

from collections.abc import Iterator

import pytest

from tests.support.server_process import Running
from tests.support.web.attack_target import Target, Weakened
from tests.support.web.browser import chromium


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server as it is."""
    made = Target(Running, tmp_path_factory.mktemp("target") / "data")
    yield made
    made.end()


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A browser."""
    made = chromium(tmp_path_factory.mktemp("profile"))
    yield made
    made.quit()


@pytest.fixture(scope="session")
def weakened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The same without its guards: an attack that fails here shows nothing there."""
    made = Target(Weakened, tmp_path_factory.mktemp("weakened") / "data")
    yield made
    made.end()
