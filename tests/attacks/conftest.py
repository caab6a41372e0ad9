"""The servers that all attacks share, protected and unprotected, and a browser."""

from collections.abc import Iterator

import pytest
from selenium import webdriver

from tests.support.server_process import MarqueeProcess
from tests.support.web.attack_target import AttackTarget, UnprotectedProcess
from tests.support.web.browser import start_chromium


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackTarget]:
    target = AttackTarget(MarqueeProcess, tmp_path_factory.mktemp("target") / "data")
    yield target
    target.stop()


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    driver = start_chromium(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def unprotected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackTarget]:
    """A server on which every attack must succeed, else the attack proves nothing."""
    target = AttackTarget(UnprotectedProcess, tmp_path_factory.mktemp("unprotected") / "data")
    yield target
    target.stop()
