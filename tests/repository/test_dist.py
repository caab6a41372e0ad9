"""The single file of `make dist`, run in an empty folder; skipped if it is not built."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlencode

import dist
import pytest

from tests.support import ROOT

if not dist.TARGET.exists() or dist.read_source_hash(dist.TARGET) != dist.hash_sources():
    pytest.skip("dist/marquee is missing or out of date: make dist", allow_module_level=True)

ADDRESS = re.compile(r"http://([\d.]+):(\d+)/")


class Isolated:
    """A folder that contains only the file; PATH has no Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "empty"
        self.folder.mkdir()
        shutil.copy(dist.TARGET, self.folder)
        self.environ = {
            "PATH": str(folder / "nothing"),
            "HOME": str(folder / "home"),
            "LC_ALL": "C.UTF-8",
        }
        (folder / "home").mkdir(mode=0o700)

    @property
    def unpacked(self) -> Path:
        return Path(self.environ["HOME"]) / ".cache" / "marquee"

    def run(
        self, *words: str, typed: str | None = None, **environ: str
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["./marquee", *words],
            cwd=self.folder,
            env=self.environ | environ,
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
        )

    @contextlib.contextmanager
    def serving(self, *words: str, **environ: str) -> Iterator[tuple[str, int, int]]:
        """Run a server; yield its host, port and process id."""
        command = ["./marquee", "serve", "--port", "0", "--data", "data", *words]
        with subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environ | environ,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout
                found = next(filter(None, map(ADDRESS.search, process.stdout)))
                yield found[1], int(found[2]), process.pid
            finally:
                process.send_signal(signal.SIGTERM)
            process.stdout.read()
        assert process.returncode == 0


@pytest.fixture
def isolated(tmp_path: Path) -> Isolated:
    return Isolated(tmp_path)


def get(host: str, port: int, path: str) -> bytes:
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=120)) as connection:
        connection.request("GET", path)
        response = connection.getresponse()
        assert response.status == 200, path
        return response.read()


def test_file_serves_imports_backs_up_and_checks_itself(isolated: Isolated, tmp_path: Path) -> None:
    campaigns = tmp_path / "campaigns"
    (campaigns / "1").mkdir(parents=True)
    (campaigns / "1" / "clicks_1.csv").write_text("click_id,banner_id,campaign_id\n1,2,77\n")
    with isolated.serving("--sample", "--tz", "Europe/Berlin") as (host, port, pid):
        found = re.search(rb'src="(/banners/\d+)"', get(host, port, "/campaigns/1/"))
        assert found
        assert get(host, port, found[1].decode())
        assert get(host, port, "/static/marquee.css")
        assert json.loads(get(host, port, "/api/v1/openapi.json"))["openapi"] == "3.1.0"
        style = re.search(rb'href="(/static/docs\.css[^"]*)"', get(host, port, "/api/v1/docs/"))
        assert style and get(host, port, style[1].decode())
        assert json.loads(get(host, port, "/readyz"))["ready"]
        # The process maps libraries only from its own folder and from the system.
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert str(isolated.unpacked) in maps
        for place in (ROOT, Path(sys.prefix), Path(sys.base_prefix).resolve()):
            assert str(place) == "/usr" or str(place) not in maps
        done = isolated.run("import", str(campaigns), "--data", "data", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["stored"] == 1
        assert get(host, port, "/campaigns/77/")
        done = isolated.run("doctor", "--data", "data", "--json")
        assert done.returncode == 0, done.stdout
        assert json.loads(done.stdout)["ok"]
        done = isolated.run("backup", "--data", "data", "--to", "b.tar")
        assert done.returncode == 0, done.stderr
        assert "marquee restore b.tar" in done.stdout
    done = isolated.run("restore", "b.tar", "--data", "other")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in isolated.folder.iterdir()) == [
        "b.tar",
        "data",
        "marquee",
        "other",
    ]


def test_uploaded_file_is_imported(isolated: Isolated) -> None:
    """The import runs in a child process, which executes the same file."""
    password = "one file holds everything"
    made = isolated.run("user", "create", "maria", "--data", "data", typed=f"{password}\n")
    assert made.returncode == 0, made.stderr
    rows = b"click_id,banner_id,campaign_id\r\n1,2,88\r\n"
    content = (
        b'--edge\r\nContent-Disposition: form-data; name="files"; filename="clicks_1.csv"\r\n'
        b"Content-Type: text/csv\r\n\r\n" + rows + b"\r\n--edge--\r\n"
    )
    with isolated.serving() as (host, port, _):
        connection = http.client.HTTPConnection(host, port, timeout=120)
        with contextlib.closing(connection):

            def post(path: str, content: bytes, kind: str, **more: str) -> http.client.HTTPResponse:
                headers = {"Content-Type": kind, "Sec-Fetch-Site": "same-origin", **more}
                connection.request("POST", path, content, headers)
                response = connection.getresponse()
                response.read()
                assert response.status == 303, path
                return response

            form = urlencode({"name": "maria", "password": password})
            kind = "application/x-www-form-urlencoded"
            cookie = post("/admin/login", form.encode(), kind).headers["Set-Cookie"].split(";")[0]
            kind = "multipart/form-data; boundary=edge"
            post("/admin/campaigns/upload", content, kind, Cookie=cookie)
            until = time.monotonic() + 120
            while True:
                connection.request("GET", "/campaigns/88/")
                response = connection.getresponse()
                response.read()
                if response.status == 200:
                    break
                assert time.monotonic() < until
                time.sleep(0.1)


def test_server_started_with_nohup_survives_its_terminal(
    isolated: Isolated, tmp_path: Path
) -> None:
    """A pseudo-terminal hangs up after the shell that started the server has ended."""
    master, slave = os.openpty()
    words = "nohup ./marquee serve --sample --port 0 --data data >out 2>log & echo $! >pid; wait"
    shell = subprocess.Popen(
        # The test run itself may have been started with SIGHUP ignored.
        ["/usr/bin/env", "--default-signal=HUP", "setsid", "--ctty", "/bin/sh", "-c", words],
        cwd=isolated.folder,
        env=isolated.environ | {"PATH": "/usr/bin:/bin"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    out = isolated.folder / "out"
    until = time.monotonic() + 120
    while not (out.exists() and (found := ADDRESS.search(out.read_text()))):
        assert time.monotonic() < until
        time.sleep(0.05)
    pid = int((isolated.folder / "pid").read_text())
    try:
        os.close(master)  # the terminal hangs up: SIGHUP to each of its processes
        assert shell.wait(120) == -signal.SIGHUP
        time.sleep(0.5)
        assert b"<img" in get(found[1], int(found[2]), "/campaigns/1/")
        # The pid that the shell printed is the server, so `kill` stops it.
        assert "serve" in Path(f"/proc/{pid}/cmdline").read_text()
    finally:
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + 120
    while Path(f"/proc/{pid}").exists() and "Z" not in _state(pid):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert "Traceback" not in (isolated.folder / "log").read_text()


def _state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "Z"


def test_server_uses_the_passed_socket_and_notifies_the_supervisor(
    isolated: Isolated, tmp_path: Path
) -> None:
    """Both protocols name a process by its id, which unpacking must not change."""
    listening = socket.create_server(("127.0.0.1", 0))
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.bind(str(tmp_path / "notify"))
    notify.settimeout(120)
    code = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True); "
        "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()), "
        "WATCHDOG_PID=str(os.getpid()), WATCHDOG_USEC='500000', NOTIFY_SOCKET=sys.argv[2]); "
        "os.execv('./marquee', ['./marquee', 'serve', '--data', 'data'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(listening.fileno()), str(tmp_path / "notify")],
        cwd=isolated.folder,
        env=isolated.environ,
        pass_fds=[listening.fileno()],
        stdout=subprocess.PIPE,
    )
    try:
        messages = {notify.recv(4096).split(b"\n")[0] for _ in range(3)}
        assert messages == {b"READY=1", b"WATCHDOG=1"}
        assert get(*listening.getsockname(), "/healthz") == b"ok\n"
    finally:
        process.terminate()
        process.communicate(timeout=120)
        listening.close()
        notify.close()
    assert process.returncode == 0


def inodes(isolated: Isolated) -> Mapping[str, int]:
    return {path.name: path.stat().st_ino for path in isolated.unpacked.iterdir()}


def test_concurrent_first_starts_unpack_once(isolated: Isolated) -> None:
    several = [
        subprocess.Popen(
            ["./marquee", "--help"],
            cwd=isolated.folder,
            env=isolated.environ,
            stdout=subprocess.PIPE,
        )
        for _ in range(4)
    ]
    outputs = {each.communicate(timeout=60)[0] for each in several}
    assert {each.returncode for each in several} == {0}
    (text,) = outputs
    assert b"example: marquee serve" in text
    assert b"server.py" not in text
    before = inodes(isolated)
    assert len(before) == 1
    assert isolated.run("--help").returncode == 0
    assert inodes(isolated) == before


def test_folder_of_another_user_is_not_executed(isolated: Isolated, tmp_path: Path) -> None:
    isolated.run("--help")
    name = next(isolated.unpacked.iterdir()).name
    theirs, link = tmp_path / "theirs", tmp_path / "link"
    (theirs / "marquee" / name).mkdir(parents=True)
    program = theirs / "marquee" / name / "marquee"
    program.write_text("#!/bin/sh\necho taken over\n")
    program.chmod(0o755)
    assert (
        "taken over" in isolated.run("--help", XDG_CACHE_HOME=str(theirs)).stdout
    )  # owned by this user
    link.symlink_to(theirs)

    def refused(place: Path) -> bool:
        done = isolated.run("--help", XDG_CACHE_HOME=str(place))
        return done.returncode == 0 and "taken over" not in done.stdout

    assert refused(link)
    if os.geteuid() == 0:  # only root can give a folder to another user
        for path in (theirs, theirs / "marquee"):
            os.chown(path, 12_345, 12_345)
            assert refused(theirs)
            os.chown(path, 0, 0)


def test_unusable_folder_is_skipped_and_reported_if_none_is_left(
    isolated: Isolated, tmp_path: Path
) -> None:
    assert isolated.run("--help", XDG_CACHE_HOME="/proc").returncode == 0
    assert isolated.unpacked.exists()
    shutil.rmtree(isolated.unpacked)
    done = isolated.run("--help", HOME="/proc", TMPDIR="/proc")
    assert done.returncode == 1
    assert "set XDG_CACHE_HOME" in done.stderr


def test_truncated_file_fails_and_leaves_nothing_behind(isolated: Isolated) -> None:
    content = (isolated.folder / "marquee").read_bytes()
    (isolated.folder / "marquee").write_bytes(content[: len(content) // 2])
    done = isolated.run("--help", TMPDIR=isolated.environ["HOME"])
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not list(isolated.unpacked.iterdir())
