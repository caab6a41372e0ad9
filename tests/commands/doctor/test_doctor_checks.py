"""Each check of `doctor`, on an installation with the problem that it reports."""

import fcntl
import json
import os
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections import namedtuple
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import pytest
import time_machine

from app.settings import Settings
from commands.doctor.certificate import check_certificate
from commands.doctor.data_folder import check_data_folder, filesystem_type
from commands.doctor.database import check_database
from commands.doctor.finding import DoctorFinding
from commands.doctor.folder_contents import check_folder_contents
from commands.doctor.machine import RESERVED_FILES, check_machine
from commands.doctor.program import check_program
from commands.doctor.server import check_server
from commands.doctor.settings import check_settings
from commands.doctor.upstream import check_upstream
from httpserver import ServerLimits
from httpserver.server import _RESERVED_OPEN_FILES
from tests.support import ROOT

LOCK = ROOT / "requirements.lock"


def problems(findings: Iterable[DoctorFinding], state: str = "problem") -> dict[str, str]:
    """Return message and remedy of the problems by check; every problem has a remedy."""
    by_check = {
        each.check: f"{each.message} → {each.remedy}" for each in findings if each.state == state
    }
    assert state != "problem" or all(not text.endswith("→ ") for text in by_check.values())
    return by_check


def notes(findings: Iterable[DoctorFinding]) -> dict[str, str]:
    return problems(findings, "note")


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A healthy data folder with an app and an import."""
    place = tmp_path_factory.mktemp("filled")
    (place / "campaigns" / "1").mkdir(parents=True)
    (place / "campaigns" / "1" / "clicks_1.csv").write_text(
        "click_id,banner_id,campaign_id\n1,1,1\n"
    )
    (place / "campaigns" / "images").mkdir()
    (place / "campaigns" / "images" / "image_1.png").write_bytes(b"\x89PNG\r\n\x1a\n1")
    for words in (["app", "create", "a"], ["import", str(place / "campaigns")], ["rebuild"]):
        command = [sys.executable, "server.py", *words, "--data", str(place / "data")]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return place / "data"


@pytest.fixture
def data(filled: Path, tmp_path: Path) -> Path:
    """A copy of `filled` for one test."""
    return Path(shutil.copytree(filled, tmp_path / "data"))


# The folder.


def test_healthy_folder_has_no_problems(data: Path) -> None:
    assert (
        problems(
            [*check_data_folder(data), *check_folder_contents(data), *check_database(data, now())]
        )
        == {}
    )


def test_missing_folder_is_reported_and_not_created(tmp_path: Path) -> None:
    assert "--data" in problems(check_data_folder(tmp_path / "none"))["data"]
    assert problems(check_database(tmp_path / "none", now())) == {}
    assert list(tmp_path.iterdir()) == []


def test_file_instead_of_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is not a folder" in problems(check_data_folder(tmp_path / "file"))["data"]


def test_read_only_folder_is_reported() -> None:
    found = problems(check_data_folder(Path("/proc/self")))
    assert "is not writable" in found["writable"]


def test_folder_on_tmpfs_is_reported() -> None:
    shm = Path("/dev/shm")
    # stat names a devtmpfs tmpfs, too: they have the same number.
    kind = subprocess.run(["stat", "-f", "-c", "%T", shm], capture_output=True, text=True).stdout
    if kind.strip() not in ("tmpfs", "ramfs") or not os.access(shm, os.W_OK):
        pytest.skip(f"no file system in memory is mounted at {shm}")
    with tempfile.TemporaryDirectory(dir=shm) as place:
        assert (
            "in memory, lost at a restart" in problems(check_data_folder(Path(place)))["filesystem"]
        )


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nfs4", "reliable locks"),
        ("cifs", "reliable locks"),
        ("fuse.sshfs", "reliable locks"),
        ("9p", "reliable locks"),
        ("overlay", "container's layer"),
        ("tmpfs", "tmpfs: in memory"),
        ("devtmpfs", "devtmpfs: in memory"),
        ("ramfs", "ramfs: in memory"),
        ("ext4", None),
        ("xfs", None),
    ],
)
def test_file_systems_without_durability_are_reported(
    data: Path, tmp_path: Path, kind: str, words: str | None
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw - ext3 /dev/a rw\n"
        f"2 1 0:5 / {tmp_path} rw shared:1 - {kind} server:/x rw\n"
        f"3 1 0:6 / {tmp_path}x rw - tmpfs x rw\n"
        "4 1 0:7 / /a\\040b rw - btrfs x rw\n"
    )
    found = problems(check_data_folder(data, mounts)).get("filesystem")
    assert found is None if words is None else found and words in found
    assert filesystem_type(Path("/a b/c"), mounts) == "btrfs"
    assert filesystem_type(Path("/other"), mounts) == "ext3"


def test_unreadable_mountinfo_is_noted(data: Path, tmp_path: Path) -> None:
    assert "unknown" in notes(check_data_folder(data, tmp_path / "none"))["filesystem"]


def test_folder_readable_by_others_is_reported(data: Path) -> None:
    data.chmod(0o755)
    assert "chmod -R go=" in problems(check_data_folder(data))["permissions"]


def test_folder_of_another_user_is_reported(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = data.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert f"sudo -u '#{owner}'" in problems(check_data_folder(data))["permissions"]


def test_file_of_another_user_is_reported(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = data.stat().st_uid, data / "marquee.db"
    monkeypatch.setattr(
        "commands.doctor.data_folder._owner_id", lambda path: ours + 1 if path == theirs else ours
    )
    assert "marquee.db" in problems(check_data_folder(data))["permissions"]


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("free", "state"), [(100 << 20, "problem"), (1 << 30, "note"), (10 << 30, "ok")]
)
def test_low_disk_space_is_graded(
    data: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, free))
    assert [each.state for each in check_folder_contents(data) if each.check == "space"] == [state]


def test_lack_of_inodes_is_reported(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 10**9, 10**9, 10**9, 10**6, 7, 7, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    assert "only 7 free inodes" in problems(check_folder_contents(data))["space"]


def test_incomplete_restore_is_reported(data: Path) -> None:
    (data / ".restoring").mkdir()
    assert "--replace" in problems(check_folder_contents(data))["leftovers"]


@pytest.mark.parametrize("name", ["replaced-20260101T000000Z", "backups/.marquee-x.part", "mine"])
def test_leftover_is_noted(data: Path, name: str) -> None:
    (data / name).mkdir(parents=True)
    assert "leftovers" in notes(check_folder_contents(data))


def test_missing_stale_and_local_backups_are_reported(data: Path, tmp_path: Path) -> None:
    assert "no backup found" in notes(check_folder_contents(data))["backup"]
    to = tmp_path / "to"
    words = [sys.executable, "server.py", "backup", "--data", str(data), "--to", str(to)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    assert "on the same disk" in notes(check_folder_contents(data))["backup"]
    with time_machine.travel(now() + timedelta(days=9)):
        assert "9 days old" in problems(check_folder_contents(data))["backup"]
    shutil.rmtree(to)
    assert "no longer there" in problems(check_folder_contents(data))["backup"]


# The databases.


def test_missing_database_is_reported(data: Path) -> None:
    (data / "marquee.db").unlink()
    assert "restore" in problems(check_database(data, now()))["database"]


def test_empty_folder_is_noted(tmp_path: Path) -> None:
    assert "not created yet" in notes(check_database(tmp_path, now()))["database"]


def test_file_that_is_not_a_database_is_reported(data: Path) -> None:
    (data / "marquee.db").write_bytes(b"words" * 9_999)
    assert "not a database" in problems(check_database(data, now()))["database"]


def test_corrupt_database_is_reported(data: Path) -> None:
    body = bytearray((data / "marquee.db").read_bytes())
    body[8_192:9_000] = os.urandom(808)
    (data / "marquee.db").write_bytes(body)
    assert "is corrupt" in problems(check_database(data, now()))["database"]


def change(path: Path, sql: str, *values: object) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(sql, values)
    connection.close()


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE log SET refused = refused + 3", "0 received, but 3"),
        ("UPDATE log SET rejects = 2", "2 rejects, and 0 are kept"),
        (
            "INSERT INTO event SELECT last + 1, 1, 1, 's', 1, NULL, 'c', 'n', 0, 0, NULL, NULL, '' "
            "FROM log",
            "newer than the last",
        ),
        ("INSERT INTO token VALUES (99, 99, x'00', 'read', 0, NULL)", "belongs to nothing"),
    ],
)
def test_inconsistent_counts_are_reported(data: Path, sql: str, words: str) -> None:
    change(data / "marquee.db", sql)
    assert words in problems(check_database(data, now()))["database"]


def test_database_of_newer_version_is_reported(data: Path) -> None:
    change(data / "marquee.db", "INSERT INTO migration VALUES (999, 'later', 0)")
    assert "update the program" in problems(check_database(data, now()))["database"]


def test_pending_migration_is_noted(data: Path) -> None:
    change(data / "marquee.db", "DELETE FROM migration WHERE number = 3")
    assert "1 migrations" in notes(check_database(data, now()))["version"]


def test_missing_image_is_reported(data: Path) -> None:
    for image in (data / "images").iterdir():
        image.unlink()
    assert "images of 1 banners" in problems(check_database(data, now()))["images"]


def test_truncated_image_is_reported(data: Path) -> None:
    for image in (data / "images").iterdir():
        os.truncate(image, image.stat().st_size - 1)
    assert "images of 1 banners" in problems(check_database(data, now()))["images"]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE place SET log = log + 1", "another log"),
        ("UPDATE place SET version = ''", "another version"),
        ("UPDATE place SET id = id + (1 << 60)", "ahead"),
        ("DELETE FROM place", "cannot be read"),
    ],
)
def test_unusable_projections_are_noted(data: Path, sql: str, words: str) -> None:
    change(data / "views.db", sql)
    assert words in notes(check_database(data, now()))["projections"]


def test_missing_projections_are_noted(data: Path) -> None:
    (data / "views.db").unlink()
    assert "there are none" in notes(check_database(data, now()))["projections"]


def test_projection_lag_is_reported(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.doctor.database.MAX_LAG_EVENTS", 99)
    many = """
    INSERT INTO event WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 100)
    SELECT n, 1, 1, 's', 1, NULL, 'c', 'n', 0, 0, NULL, NULL, '' FROM n
    """
    change(data / "marquee.db", many)
    change(data / "marquee.db", "UPDATE log SET last = 100")
    assert "100 events behind" in problems(check_database(data, now()))["projections"]


def test_large_write_ahead_log_is_reported(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.doctor.database.MAX_WAL_BYTES", 1_000)
    connection = sqlite3.connect(data / "marquee.db", isolation_level=None)
    connection.execute("UPDATE log SET received = received + 1, stored = stored + 1")
    assert "fuser -v" in problems(check_database(data, now()))["wal"]
    connection.close()


def test_clock_behind_newest_event_is_reported(data: Path) -> None:
    later = (time.time_ns() // 1_000) + 3_600_000_000
    row = "INSERT INTO event SELECT 1, 1, 1, 's', 1, NULL, 'c', 'n', 0, ?, NULL, NULL, '' "
    change(data / "marquee.db", row, later)
    change(data / "marquee.db", "UPDATE log SET last = 1")
    assert "behind the newest event" in problems(check_database(data, now()))["clock"]


def test_unset_clock_is_reported(tmp_path: Path) -> None:
    assert "1970" in problems(check_database(tmp_path, datetime.fromtimestamp(0, UTC)))["clock"]


# The program.


def test_old_python_and_sqlite_versions_are_reported() -> None:
    assert "3.10.9" in problems(check_program(LOCK, python=(3, 10, 9)))["python"]
    assert "3.40.1" in notes(check_program(LOCK, sqlite=(3, 40, 1)))["sqlite"]
    assert "sqlite" not in notes(check_program(LOCK, sqlite=(3, 51, 3)))


def test_packages_that_differ_from_the_lock_are_reported(tmp_path: Path) -> None:
    assert problems(check_program(LOCK)) == {}
    lock = tmp_path / "lock"
    lock.write_text("tornado==1.0 \\\n    --hash=x\nnowhere-to-be-found==2\n")
    assert "tornado is 6" in problems(check_program(lock))["packages"]
    assert "nowhere-to-be-found is missing" in problems(check_program(lock))["packages"]
    assert "cannot be read" in problems(check_program(tmp_path / "none"))["packages"]
    assert problems(check_program(None)) == {}


# The machine.


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc" / "sys" / "net" / "core").mkdir(parents=True)
    (tmp_path / "proc" / "sys" / "net" / "core" / "somaxconn").write_text("4096\n")
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:       16000000 kB\n")
    return tmp_path / "proc"


def test_reserved_files_match_those_of_the_server() -> None:
    assert RESERVED_FILES == _RESERVED_OPEN_FILES
    assert ServerLimits().fit_open_files(1_024 - _RESERVED_OPEN_FILES).max_connections == 568


def test_low_limit_of_open_files_is_reported() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, 1_024)); "
        "from commands.doctor.machine import check_machine; from app.settings import Settings; "
        "print([each.remedy for each in check_machine(Settings()) if each.state == 'problem'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == str(
        ["LimitNOFILE=12896 in the unit (ulimit -Hn), or --max-connections 568"]
    )


def test_caches_larger_than_memory_are_reported(proc: Path, tmp_path: Path) -> None:
    none = tmp_path / "none"
    assert problems(check_machine(Settings(), proc, none)) == {}
    large = Settings(queue_bytes=1 << 33)
    assert "8,256 MB of 15,625 MB" in problems(check_machine(large, proc, none))["memory"]
    limit = tmp_path / "memory.max"
    limit.write_text("134217728\n")
    assert "of 128 MB" in problems(check_machine(Settings(), proc, limit))["memory"]
    limit.write_text("max\n")
    assert problems(check_machine(Settings(), proc, limit)) == {}
    assert "unknown" in notes(check_machine(Settings(), none, none))["memory"]


def test_single_core_is_noted(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert "one core" in notes(check_machine(Settings(), proc))["cores"]


def test_short_listen_backlog_is_noted(proc: Path) -> None:
    (proc / "sys" / "net" / "core" / "somaxconn").write_text("128\n")
    assert "128" in notes(check_machine(Settings(), proc))["backlog"]


def test_time_zone_other_than_the_machines_is_noted(proc: Path, tmp_path: Path) -> None:
    local = tmp_path / "localtime"
    local.symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    assert "--tz Europe/Berlin" in notes(check_machine(Settings(), proc, localtime=local))["tz"]
    assert "tz" not in notes(check_machine(Settings(tz="Europe/Berlin"), proc, localtime=local))
    local.unlink()
    local.symlink_to("/usr/share/zoneinfo/Etc/UTC")
    assert "tz" not in notes(check_machine(Settings(), proc, localtime=local))


def test_unverifiable_disk_durability_is_noted(proc: Path) -> None:
    assert "cannot be checked" in notes(check_machine(Settings(), proc))["disk"]


# Settings.


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        (Settings(max_body=1 << 25), "settings"),
        (Settings(queue_bytes=500_000), "settings"),
        (Settings(host="0.0.0.0"), "proxies"),
        (Settings(host="192.0.2.7"), "proxies"),
        (Settings(host="www.example.com"), "proxies"),
        (Settings(proxies="0.0.0.0/0"), "proxies"),
        (Settings(proxies="0.0.0.0/1,128.0.0.0/1"), "proxies"),
        (Settings(proxies="127.0.0.1", rate_per_address="1/h"), "settings"),
        (Settings(rate_per_address="600/m"), "settings"),
        (Settings(proxies="10.0.0.1,::/0"), "proxies"),
    ],
)
def test_contradicting_settings_are_reported(settings: Settings, check: str) -> None:
    assert list(problems(check_settings(settings))) == [check]


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        (Settings(body_seconds=90), "settings"),
        (Settings(header_seconds=30), "settings"),
        (Settings(server="tornado"), "settings"),
        (Settings(loop="asyncio"), "settings"),
        (Settings(log_level="debug"), "settings"),
        (Settings(access_log=True), "settings"),
        (Settings(), "proxies"),
    ],
)
def test_unusual_settings_are_noted(settings: Settings, check: str) -> None:
    assert check in notes(check_settings(settings))
    assert problems(check_settings(settings)) == {}


@pytest.mark.parametrize(
    "settings",
    [
        Settings(host="0.0.0.0", proxies="10.0.0.1"),
        Settings(host="0.0.0.0", tls_cert="a", tls_key="b"),
        Settings(host="localhost"),
        Settings(host="::1"),
    ],
)
def test_valid_settings_have_no_problems(settings: Settings) -> None:
    assert problems(check_settings(settings)) == {}


# The certificate.


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here to make a certificate")
    folder = tmp_path_factory.mktemp("pairs")
    made = {}
    for name in ("one", "other"):
        cert, key = f"{folder}/{name}.pem", f"{folder}/{name}.key"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
             "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=x", "-days", "90",
             "-keyout", key, "-out", cert],
            check=True, capture_output=True,
        )  # fmt: skip
        made[name] = (cert, key)
    return made


def of(pair: tuple[str, str]) -> Settings:
    return Settings(tls_cert=pair[0], tls_key=pair[1])


def test_certificate_that_expires_soon_is_reported(
    pairs: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = of(pairs["one"])
    assert problems(check_certificate(settings, now())) == {}
    assert "9 days" in problems(check_certificate(settings, now() + timedelta(days=80)))["tls"]
    assert list(check_certificate(Settings(), now())) == []


@pytest.mark.parametrize(("days", "words"), [(-3, "has expired"), (3, "is not valid yet")])
def test_expired_and_future_certificates_are_reported(
    tmp_path: Path, days: int, words: str
) -> None:
    """time_machine does not change the clock of openssl, so the certificate has other dates."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here to make a certificate")
    (tmp_path / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=x\n[x]\ndatabase={tmp_path}/index\nserial={tmp_path}/serial\n"
        f"new_certs_dir={tmp_path}\ndefault_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n"
        "[req]\ndistinguished_name=d\n[d]\n"
    )
    (tmp_path / "index").touch()
    (tmp_path / "serial").write_text("01\n")
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    start, end = now() + timedelta(days=days - 1), now() + timedelta(days=days)
    config = ["-config", str(tmp_path / "ca.cnf")]
    for words_ in (
        ["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-keyout", str(key),
         "-out", str(tmp_path / "csr"), *config],
        ["ca", "-batch", "-selfsign", "-keyfile", str(key), "-in", str(tmp_path / "csr"), "-out",
         str(cert), "-notext", "-startdate", f"{start:%y%m%d%H%M%SZ}", "-enddate",
         f"{end:%y%m%d%H%M%SZ}", *config],
    ):  # fmt: skip
        done = subprocess.run(["openssl", *words_], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert words in problems(check_certificate(of((str(cert), str(key))), now()))["tls"]


def test_unusable_certificate_or_key_is_reported(
    pairs: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    one, other = pairs["one"], pairs["other"]
    assert (
        "does not match the certificate"
        in problems(check_certificate(of((one[0], other[1])), now()))["tls"]
    )
    assert "cannot be read" in problems(check_certificate(of(("/nowhere", one[1])), now()))["tls"]
    (tmp_path / "words").write_text("words")
    spoilt = problems(check_certificate(of((str(tmp_path / "words"), one[1])), now()))
    assert "cannot be used" in spoilt["tls"]
    key = tmp_path / "key"
    shutil.copy(one[1], key)
    key.chmod(0o644)
    assert "chmod o=" in problems(check_certificate(of((one[0], str(key))), now()))["tls"]
    assert ssl.OPENSSL_VERSION


# The server.


def test_unavailable_address_is_reported(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        busy = Settings(data=str(data), port=port)
        assert f"sport = :{port}" in problems(check_server(busy))["address"]
    assert problems(check_server(Settings(data=str(data), port=port))) == {}
    elsewhere = Settings(data=str(data), host="192.0.2.1")
    assert "ip addr" in problems(check_server(elsewhere))["address"]
    nowhere = Settings(data=str(data), host="no such host")
    assert "invalid address" in problems(check_server(nowhere))["address"]


def test_privileged_port_is_reported(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    found = problems(check_server(Settings(data=str(data), port=443)))
    assert "marquee.socket" in found["address"]


def test_unresponsive_server_is_reported(data: Path) -> None:
    with (data / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711\n")
        lock.flush()
        found = problems(check_server(Settings(data=str(data))))
    assert "process 4711 has the folder locked and does not respond" in found["server"]


@pytest.fixture
def reader(data: Path) -> Iterator[int]:
    code = "import sys; file = open(sys.argv[1]); print(flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, str(data / "marquee.db")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_other_process_with_the_database_open_is_noted(data: Path, reader: int) -> None:
    found = notes(check_server(Settings(data=str(data))))
    assert f"process {reader} (python" in found["others"]


def test_every_finding_has_a_message(data: Path) -> None:
    settings = Settings(data=str(data), host="0.0.0.0", port=0)
    found = [
        *check_data_folder(data),
        *check_database(data, now()),
        *check_server(settings),
        *check_machine(settings),
    ]
    assert all(each.message and each.check for each in found)
    assert json.dumps([each.state for each in found])


def test_key_with_pass_phrase_is_reported_without_prompt(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-passout", "pass:x", "-subj", "/CN=x"]
    command = ["openssl", *words, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    assert "a pass phrase" in problems(check_certificate(of((cert, key)), now()))["tls"]


def test_unreadable_image_is_reported(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def forbidden(self: Path, mode: str) -> BinaryIO:
        if self.parent.name == "images":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, mode)  # type: ignore[return-value]

    monkeypatch.setattr(Path, "open", forbidden)
    assert (
        "images of 1 banners are missing, damaged or unreadable"
        in problems(check_database(data, now()))["images"]
    )


def test_clock_years_ahead_of_newest_event_is_noted(data: Path) -> None:
    row = "INSERT INTO event SELECT 1, 1, 1, 's', 1, NULL, 'c', 'n', 0, ?, NULL, NULL, '' "
    change(data / "marquee.db", row, time.time_ns() // 1_000)
    change(data / "marquee.db", "UPDATE log SET last = 1, received = 1, stored = 1")
    assert "clock" not in notes(check_database(data, now()))
    assert (
        "if the clock is ahead"
        in notes(check_database(data, now() + timedelta(days=3_650)))["clock"]
    )


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://nowhere.invalid"])
def test_unresponsive_upstream_is_reported(address: str) -> None:
    assert "does not respond" in problems(check_upstream(Settings(upstream=address)))["upstream"]


def test_responsive_upstream_passes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            peer = server.accept()[0]
            with peer:
                peer.recv(1_000)
                peer.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        found = list(check_upstream(Settings(upstream=address)))
        thread.join()
    assert [each.state for each in found] == ["ok"]
    assert list(check_upstream(Settings())) == []
