"""Dockerfile, litestream settings and `make dist`; tests/app and tests/operations run the rest."""

import contextlib
import http.client
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import dist
import pytest

from tests.support import ROOT

HADOLINT = Path(sys.executable).with_name("hadolint")


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint has no wheel for this machine")
def test_dockerfile_passes_the_linter() -> None:
    command = [HADOLINT, "--failure-threshold", "style", ROOT / "Dockerfile"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint has no wheel for this machine")
def test_linter_rejects_a_relative_workdir(tmp_path: Path) -> None:
    text = (ROOT / "Dockerfile").read_text().replace("WORKDIR /opt/marquee", "WORKDIR opt")
    (tmp_path / "Dockerfile").write_text(text)
    assert subprocess.run([HADOLINT, tmp_path / "Dockerfile"], check=False).returncode


def test_container_runs_without_root_and_stores_data_in_its_volume() -> None:
    last = (ROOT / "Dockerfile").read_text().rpartition("\nFROM ")[2]
    (user,) = re.findall(r"(?m)^USER (\d+):\d+$", last)
    assert int(user) >= 1_000
    (volume,) = re.findall(r"(?m)^VOLUME (\S+)$", last)
    assert f"MARQUEE_DATA={volume} " in last


def test_files_copied_into_the_image_are_enough_to_serve(tmp_path: Path) -> None:
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        for source in ROOT.glob(line[1:]) if line.startswith("!") else ():
            target = tmp_path / "image" / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
    words = ["server.py", "serve", "--sample", "--port", "0", "--data", str(tmp_path / "data")]
    with subprocess.Popen(
        [sys.executable, *words], cwd=tmp_path / "image", stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            output = ""
            found = None
            for line in process.stdout:
                output += line
                if found := re.search(r"campaign +http://([\d.]+):(\d+)(\S+)", line):
                    break
            assert found, output
            client = http.client.HTTPConnection(found[1], int(found[2]))
            with contextlib.closing(client):
                for path in (found[3], "/static/marquee.css", "/readyz"):
                    client.request("GET", path)
                    response = client.getresponse()
                    response.read()
                    assert response.status == 200, path
        finally:
            process.send_signal(signal.SIGTERM)


def test_litestream_replicates_backups_and_never_the_live_database() -> None:
    text = (ROOT / "deploy" / "litestream.yml").read_text()
    paths = re.findall(r"(?m)^\s*- path: (\S+)$", text)
    assert paths
    assert not [path for path in paths if not path.startswith("/var/backups/")]
    assert "Never point it at the live marquee.db" in text


def test_make_dist_names_missing_debian_packages(tmp_path: Path) -> None:
    missing = dist.missing_packages(str(tmp_path))
    assert missing["objdump and strip"] == "binutils"
    text = (ROOT / "docs" / "how-to" / "one-file.md").read_text("utf-8")
    assert "apt install libpython3-dev binutils" in text.partition("make dist")[0]
