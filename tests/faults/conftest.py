"""The shim that tells what is done to the disk."""

import shutil
from pathlib import Path

import pytest

from tests.support.faults.disk_journal import compile_disk_shim


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shim; skips where there is no gcc."""
    if shutil.which("gcc") is None:
        pytest.skip("the shim is compiled by gcc, which is missing")
    return compile_disk_shim(tmp_path_factory.mktemp("shim"))
