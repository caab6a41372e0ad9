"""The one file of `make dist`, alone in an empty folder; skipped where it is not made."""

import contextlib
import http.client
import json
import os
import re
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.support import ROOT

dist = runpy.run_path(str(ROOT / "deploy" / "dist.py"))
BUILT: Path = dist["TARGET"]

if not BUILT.exists() or dist["made_of"](BUILT) != dist["sources"]():
    pytest.skip("dist/marquee is not made of these sources: make dist", allow_module_level=True)

ADDRESS = re.compile(r"http://([\d.]+):(\d+)/")


class Alone:
    """A folder with nothing but the file, where no Python is in reach."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "empty"
        self.folder.mkdir()
        shutil.copy(BUILT, self.folder)
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
        """A server: host, port and process."""
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
def alone(tmp_path: Path) -> Alone:
    return Alone(tmp_path)


def ask(host: str, port: int, path: str) -> bytes:
    with contextlib.closing(http.client.HTTPConnection(host, port, timeout=120)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200, path
        return answer.read()


def test_it_serves_imports_backs_up_and_looks_itself_over(alone: Alone, tmp_path: Path) -> None:
    campaigns = tmp_path / "campaigns"
    (campaigns / "1").mkdir(parents=True)
    (campaigns / "1" / "clicks_1.csv").write_text("click_id,banner_id,campaign_id\n1,2,77\n")
    with alone.serving("--sample", "--tz", "Europe/Berlin") as (host, port, pid):
        found = re.search(rb'src="(/banners/\d+)"', ask(host, port, "/campaigns/1/"))
        assert found
        assert ask(host, port, found[1].decode())
        assert ask(host, port, "/static/marquee.css")
        assert json.loads(ask(host, port, "/api/v1/openapi.json"))["openapi"] == "3.1.0"
        style = re.search(rb'href="(/static/docs\.css[^"]*)"', ask(host, port, "/api/v1/docs/"))
        assert style and ask(host, port, style[1].decode())
        assert json.loads(ask(host, port, "/readyz"))["ready"]
        # Nothing of it comes from elsewhere than its own folder and the system.
        maps = Path(f"/proc/{pid}/maps").read_text()
        assert str(alone.unpacked) in maps
        for place in (ROOT, Path(sys.prefix), Path(sys.base_prefix).resolve()):
            assert str(place) == "/usr" or str(place) not in maps
        done = alone.run("import", str(campaigns), "--data", "data", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["stored"] == 1
        assert ask(host, port, "/campaigns/77/")
        done = alone.run("doctor", "--data", "data", "--json")
        assert done.returncode == 0, done.stdout
        assert json.loads(done.stdout)["well"]
        done = alone.run("backup", "--data", "data", "--to", "b.tar")
        assert done.returncode == 0, done.stderr
        assert "marquee restore b.tar" in done.stdout
    done = alone.run("restore", "b.tar", "--data", "other")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in alone.folder.iterdir()) == [
        "b.tar",
        "data",
        "marquee",
        "other",
    ]


def test_an_upload_is_imported_by_the_one_file_too(alone: Alone) -> None:
    """By the import command, in a process of its own: which is the file once more."""
    password = "one file carries it all"
    made = alone.run("user", "create", "maria", "--data", "data", typed=f"{password}\n")
    assert made.returncode == 0, made.stderr
    rows = b"click_id,banner_id,campaign_id\r\n1,2,88\r\n"
    content = (
        b'--edge\r\nContent-Disposition: form-data; name="files"; filename="clicks_1.csv"\r\n'
        b"Content-Type: text/csv\r\n\r\n" + rows + b"\r\n--edge--\r\n"
    )
    with alone.serving() as (host, port, _):
        connection = http.client.HTTPConnection(host, port, timeout=120)
        with contextlib.closing(connection):

            def post(path: str, content: bytes, kind: str, **more: str) -> http.client.HTTPResponse:
                headers = {"Content-Type": kind, "Sec-Fetch-Site": "same-origin", **more}
                connection.request("POST", path, content, headers)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 303, path
                return answer

            form = urlencode({"name": "maria", "password": password})
            kind = "application/x-www-form-urlencoded"
            cookie = post("/admin/login", form.encode(), kind).headers["Set-Cookie"].split(";")[0]
            kind = "multipart/form-data; boundary=edge"
            post("/admin/campaigns/upload", content, kind, Cookie=cookie)
            until = time.monotonic() + 120
            while True:
                connection.request("GET", "/campaigns/88/")
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    break
                assert time.monotonic() < until
                time.sleep(0.1)


def test_started_by_nohup_it_survives_its_terminal(alone: Alone, tmp_path: Path) -> None:
    """Its terminal is a real one, whose end is closed; whoever started it is gone by then."""
    master, slave = os.openpty()
    words = "nohup ./marquee serve --sample --port 0 --data data >out 2>log & echo $! >pid; wait"
    shell = subprocess.Popen(
        # Who runs the tests may have told it to be ignored.
        ["/usr/bin/env", "--default-signal=HUP", "setsid", "--ctty", "/bin/sh", "-c", words],
        cwd=alone.folder,
        env=alone.environ | {"PATH": "/usr/bin:/bin"},
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    out = alone.folder / "out"
    until = time.monotonic() + 120
    while not (out.exists() and (found := ADDRESS.search(out.read_text()))):
        assert time.monotonic() < until
        time.sleep(0.05)
    pid = int((alone.folder / "pid").read_text())
    try:
        os.close(master)  # the terminal hangs up: SIGHUP to all that run in it
        assert shell.wait(120) == -signal.SIGHUP
        time.sleep(0.5)
        assert b"<img" in ask(found[1], int(found[2]), "/campaigns/1/")
        # The process that nohup named is the server itself, so a kill of it is a stop.
        assert "serve" in Path(f"/proc/{pid}/cmdline").read_text()
    finally:
        os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + 120
    while Path(f"/proc/{pid}").exists() and "Z" not in _state(pid):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert "Traceback" not in (alone.folder / "log").read_text()


def _state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "Z"


def test_it_takes_the_socket_and_tells_the_supervisor(alone: Alone, tmp_path: Path) -> None:
    """Both name a process by its number, which unpacking must not change."""
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
        cwd=alone.folder,
        env=alone.environ,
        pass_fds=[listening.fileno()],
        stdout=subprocess.PIPE,
    )
    try:
        heard = {notify.recv(4096).split(b"\n")[0] for _ in range(3)}
        assert heard == {b"READY=1", b"WATCHDOG=1"}
        assert ask(*listening.getsockname(), "/healthz") == b"ok\n"
    finally:
        process.terminate()
        process.communicate(timeout=120)
        listening.close()
        notify.close()
    assert process.returncode == 0


def inodes(alone: Alone) -> Mapping[str, int]:
    return {path.name: path.stat().st_ino for path in alone.unpacked.iterdir()}


def test_it_unpacks_once_also_when_started_many_times_at_once(alone: Alone) -> None:
    several = [
        subprocess.Popen(
            ["./marquee", "--help"], cwd=alone.folder, env=alone.environ, stdout=subprocess.PIPE
        )
        for _ in range(4)
    ]
    said = {each.communicate(timeout=60)[0] for each in several}
    assert {each.returncode for each in several} == {0}
    (text,) = said
    assert b"example: marquee serve" in text
    assert b"server.py" not in text
    before = inodes(alone)
    assert len(before) == 1
    assert alone.run("--help").returncode == 0
    assert inodes(alone) == before


def test_what_others_could_have_prepared_is_not_run(alone: Alone, tmp_path: Path) -> None:
    alone.run("--help")
    name = next(alone.unpacked.iterdir()).name
    theirs, link = tmp_path / "theirs", tmp_path / "link"
    (theirs / "marquee" / name).mkdir(parents=True)
    program = theirs / "marquee" / name / "marquee"
    program.write_text("#!/bin/sh\necho taken over\n")
    program.chmod(0o755)
    assert "taken over" in alone.run("--help", XDG_CACHE_HOME=str(theirs)).stdout  # as it is ours
    link.symlink_to(theirs)

    def refused(place: Path) -> bool:
        done = alone.run("--help", XDG_CACHE_HOME=str(place))
        return done.returncode == 0 and "taken over" not in done.stdout

    assert refused(link)
    if os.geteuid() == 0:  # who alone gives folders away
        for path in (theirs, theirs / "marquee"):
            os.chown(path, 12_345, 12_345)
            assert refused(theirs)
            os.chown(path, 0, 0)


def test_where_it_cannot_unpack_it_takes_the_next_folder_or_says_so(
    alone: Alone, tmp_path: Path
) -> None:
    assert alone.run("--help", XDG_CACHE_HOME="/proc").returncode == 0
    assert alone.unpacked.exists()
    shutil.rmtree(alone.unpacked)
    done = alone.run("--help", HOME="/proc", TMPDIR="/proc")
    assert done.returncode == 1
    assert "set XDG_CACHE_HOME" in done.stderr


def test_a_file_that_is_cut_short_says_so_and_runs_nothing(alone: Alone) -> None:
    whole = (alone.folder / "marquee").read_bytes()
    (alone.folder / "marquee").write_bytes(whole[: len(whole) // 2])
    done = alone.run("--help", TMPDIR=alone.environ["HOME"])
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not list(alone.unpacked.iterdir())
