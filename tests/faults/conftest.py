"""The preloaded library that records disk operations and makes them fail."""

import shutil
from pathlib import Path

import pytest

from tests.support.faults.disk_journal import compile_disk_shim


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile disk_journal.c, or skip without gcc."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is missing, which compiles the shim")
    return compile_disk_shim(tmp_path_factory.mktemp("shim"))
