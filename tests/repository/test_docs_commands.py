"""Every shell block of the documentation that is marked `sh runnable` runs against a server.

The blocks of a page run one after another in one shell, in a temporary folder that looks like a
checkout: `.venv`, `server.py` and a data folder `data`, on which a server with sample data runs.
`127.0.0.1:8000` stands for that server's address.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"(?ms)^```sh runnable\n(.*?)^```$")
PAGES = [
    page
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if BLOCK.search(page.read_text("utf-8"))
]
LINKED = ("server.py", "client", "docs", "static", "templates", "deploy")
pytestmark = pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder that looks like a checkout of the program."""
    for name in LINKED:
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


@pytest.fixture
def port(checkout: Path) -> Iterator[int]:
    """The port of a server on the checkout's data folder."""
    words = ["serve", "--sample", "--no-traffic", "--port", "0", "--data", "data", "--json"]
    with (checkout / "log").open("w") as log:
        server = subprocess.Popen(
            [".venv/bin/python", "server.py", *words],
            cwd=checkout,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert server.stdout is not None
    try:
        address = json.loads(server.stdout.readline())["address"]
        yield int(address.rstrip("/").rpartition(":")[2])
    finally:
        server.terminate()
        server.wait(60)
        server.stdout.close()
    assert "Traceback" not in (checkout / "log").read_text()


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text("utf-8"))


def test_some_pages_have_runnable_commands() -> None:
    assert len(PAGES) > 5


@pytest.mark.parametrize("page", PAGES, ids=lambda it: str(it.relative_to(ROOT)))
def test_commands_of_a_page_succeed(page: Path, checkout: Path, port: int) -> None:
    done = run(blocks(page), checkout, port)
    print(done.stdout, done.stderr)  # shown by `pytest -rP`, or on failure
    assert done.returncode == 0


@pytest.mark.parametrize(
    "block",
    [
        "curl http://127.0.0.1:8000/nowhere",
        "false | true",
        ".venv/bin/python server.py app revoke 99 --data data | sed -n p",
    ],
)
def test_a_block_fails_with_its_commands(block: str, checkout: Path, port: int) -> None:
    assert run(["true\n", f"{block}\ntrue\n"], checkout, port).returncode != 0


def run(steps: list[str], checkout: Path, port: int) -> subprocess.CompletedProcess[str]:
    """Run blocks in one shell; the last `block N` on stderr is the one that failed."""
    marked = [f"echo 'block {number}' >&2\n{step}" for number, step in enumerate(steps, 1)]
    script = "".join(marked).replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    # curl exits with 0 for an error status, unless it is configured otherwise.
    (checkout / ".curlrc").write_text("fail-with-body\nsilent\nshow-error\n")
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=checkout,
        env={**os.environ, "CURL_HOME": str(checkout), "MARQUEE_PORT": str(port)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
