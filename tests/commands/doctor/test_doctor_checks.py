"""Each misconfiguration that `doctor` finds, made."""

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
from commands.doctor.settings_agreement import check_settings
from commands.doctor.upstream import check_upstream
from httpserver import ServerLimits
from httpserver.server import _RESERVED_OPEN_FILES
from tests.support import ROOT

LOCK = ROOT / "requirements.lock"


def faults(found: Iterable[DoctorFinding], state: str = "fault") -> dict[str, str]:
    """What is wrong, by its check; each says what to do."""
    named = {each.check: f"{each.words} → {each.remedy}" for each in found if each.state == state}
    assert state != "fault" or all(not words.endswith("→ ") for words in named.values())
    return named


def notes(found: Iterable[DoctorFinding]) -> dict[str, str]:
    return faults(found, "note")


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which all is well: an app, an import, a backup elsewhere."""
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
    """One's own copy of that."""
    return Path(shutil.copytree(filled, tmp_path / "data"))


# The folder.


def test_a_folder_in_which_all_is_well(data: Path) -> None:
    assert (
        faults(
            [*check_data_folder(data), *check_folder_contents(data), *check_database(data, now())]
        )
        == {}
    )


def test_no_folder_and_none_is_made(tmp_path: Path) -> None:
    assert "--data" in faults(check_data_folder(tmp_path / "none"))["data"]
    assert faults(check_database(tmp_path / "none", now())) == {}
    assert list(tmp_path.iterdir()) == []


def test_no_folder_but_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "is no folder" in faults(check_data_folder(tmp_path / "file"))["data"]


def test_a_folder_that_cannot_be_written_to() -> None:
    found = faults(check_data_folder(Path("/proc/self")))
    assert "cannot be written to" in found["writable"]


def test_a_folder_in_memory() -> None:
    shm = Path("/dev/shm")
    # stat names a devtmpfs tmpfs, too: they have the same number.
    kind = subprocess.run(["stat", "-f", "-c", "%T", shm], capture_output=True, text=True).stdout
    if kind.strip() not in ("tmpfs", "ramfs") or not os.access(shm, os.W_OK):
        pytest.skip(f"no file system in memory is mounted at {shm}")
    with tempfile.TemporaryDirectory(dir=shm) as place:
        assert "in memory, and gone with it" in faults(check_data_folder(Path(place)))["filesystem"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("nfs4", "cannot trust"),
        ("cifs", "cannot trust"),
        ("fuse.sshfs", "cannot trust"),
        ("9p", "cannot trust"),
        ("overlay", "container's own layer"),
        ("tmpfs", "tmpfs: in memory"),
        ("devtmpfs", "devtmpfs: in memory"),
        ("ramfs", "ramfs: in memory"),
        ("ext4", None),
        ("xfs", None),
    ],
)
def test_a_folder_on_a_filesystem_that_cannot_be_trusted(
    data: Path, tmp_path: Path, kind: str, words: str | None
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw - ext3 /dev/a rw\n"
        f"2 1 0:5 / {tmp_path} rw shared:1 - {kind} server:/x rw\n"
        f"3 1 0:6 / {tmp_path}x rw - tmpfs x rw\n"
        "4 1 0:7 / /a\\040b rw - btrfs x rw\n"
    )
    found = faults(check_data_folder(data, mounts)).get("filesystem")
    assert found is None if words is None else found and words in found
    assert filesystem_type(Path("/a b/c"), mounts) == "btrfs"
    assert filesystem_type(Path("/other"), mounts) == "ext3"


def test_where_mounts_cannot_be_told_that_is_told(data: Path, tmp_path: Path) -> None:
    assert "cannot be told" in notes(check_data_folder(data, tmp_path / "none"))["filesystem"]


def test_a_folder_that_others_may_read(data: Path) -> None:
    data.chmod(0o755)
    assert "chmod -R go=" in faults(check_data_folder(data))["permissions"]


def test_a_folder_of_another_user(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = data.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert f"sudo -u '#{owner}'" in faults(check_data_folder(data))["permissions"]


def test_a_file_of_another_user(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = data.stat().st_uid, data / "marquee.db"
    monkeypatch.setattr(
        "commands.doctor.data_folder._owner_id", lambda path: ours + 1 if path == theirs else ours
    )
    assert "marquee.db" in faults(check_data_folder(data))["permissions"]


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(
    ("free", "state"), [(100 << 20, "fault"), (1 << 30, "note"), (10 << 30, "well")]
)
def test_little_room(data: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1 << 40, 0, free))
    assert [each.state for each in check_folder_contents(data) if each.check == "room"] == [state]


def test_no_room_for_more_files(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 10**9, 10**9, 10**9, 10**6, 7, 7, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    assert "only 7 more files" in faults(check_folder_contents(data))["room"]


def test_what_a_cut_off_restore_left(data: Path) -> None:
    (data / ".restoring").mkdir()
    assert "--replace" in faults(check_folder_contents(data))["leftovers"]


@pytest.mark.parametrize("name", ["replaced-20260101T000000Z", "backups/.marquee-x.part", "mine"])
def test_what_lies_about(data: Path, name: str) -> None:
    (data / name).mkdir(parents=True)
    assert "leftovers" in notes(check_folder_contents(data))


def test_backups_that_are_none_stale_gone_or_near(data: Path, tmp_path: Path) -> None:
    assert "none is known of" in notes(check_folder_contents(data))["backup"]
    to = tmp_path / "to"
    words = [sys.executable, "server.py", "backup", "--data", str(data), "--to", str(to)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    assert "on the same disk" in notes(check_folder_contents(data))["backup"]
    with time_machine.travel(now() + timedelta(days=9)):
        assert "9 days old" in faults(check_folder_contents(data))["backup"]
    shutil.rmtree(to)
    assert "is no more" in faults(check_folder_contents(data))["backup"]


# The databases.


def test_a_database_that_is_gone(data: Path) -> None:
    (data / "marquee.db").unlink()
    assert "restore" in faults(check_database(data, now()))["database"]


def test_no_database_yet(tmp_path: Path) -> None:
    assert "there is none yet" in notes(check_database(tmp_path, now()))["database"]


def test_a_database_that_is_none(data: Path) -> None:
    (data / "marquee.db").write_bytes(b"words" * 9_999)
    assert "not a database" in faults(check_database(data, now()))["database"]


def test_a_damaged_database(data: Path) -> None:
    body = bytearray((data / "marquee.db").read_bytes())
    body[8_192:9_000] = os.urandom(808)
    (data / "marquee.db").write_bytes(body)
    assert "is not sound" in faults(check_database(data, now()))["database"]


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
def test_sums_that_are_none(data: Path, sql: str, words: str) -> None:
    change(data / "marquee.db", sql)
    assert words in faults(check_database(data, now()))["database"]


def test_a_database_of_a_newer_program(data: Path) -> None:
    change(data / "marquee.db", "INSERT INTO migration VALUES (999, 'later', 0)")
    assert "update the program" in faults(check_database(data, now()))["database"]


def test_a_database_of_an_older_program(data: Path) -> None:
    change(data / "marquee.db", "DELETE FROM migration WHERE number = 3")
    assert "1 changes" in notes(check_database(data, now()))["version"]


def test_an_image_that_is_lost(data: Path) -> None:
    for image in (data / "images").iterdir():
        image.unlink()
    assert "1 banners' images" in faults(check_database(data, now()))["images"]


def test_an_image_that_is_truncated(data: Path) -> None:
    for image in (data / "images").iterdir():
        os.truncate(image, image.stat().st_size - 1)
    assert "1 banners' images" in faults(check_database(data, now()))["images"]


@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("UPDATE place SET log = log + 1", "another log"),
        ("UPDATE place SET version = ''", "another version"),
        ("UPDATE place SET id = id + (1 << 60)", "ahead"),
        ("DELETE FROM place", "cannot be read"),
    ],
)
def test_views_that_are_of_no_use(data: Path, sql: str, words: str) -> None:
    change(data / "views.db", sql)
    assert words in notes(check_database(data, now()))["views"]


def test_no_views(data: Path) -> None:
    (data / "views.db").unlink()
    assert "there are none" in notes(check_database(data, now()))["views"]


def test_views_that_do_not_follow(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.doctor.database.MAX_LAG_EVENTS", 99)
    many = """
    INSERT INTO event WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n LIMIT 100)
    SELECT n, 1, 1, 's', 1, NULL, 'c', 'n', 0, 0, NULL, NULL, '' FROM n
    """
    change(data / "marquee.db", many)
    change(data / "marquee.db", "UPDATE log SET last = 100")
    assert "100 events behind" in faults(check_database(data, now()))["views"]


def test_a_write_ahead_log_that_a_reader_keeps(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commands.doctor.database.MAX_WAL_BYTES", 1_000)
    connection = sqlite3.connect(data / "marquee.db", isolation_level=None)
    connection.execute("UPDATE log SET received = received + 1, stored = stored + 1")
    assert "fuser -v" in faults(check_database(data, now()))["wal"]
    connection.close()


def test_a_clock_that_is_behind(data: Path) -> None:
    later = (time.time_ns() // 1_000) + 3_600_000_000
    row = "INSERT INTO event SELECT 1, 1, 1, 's', 1, NULL, 'c', 'n', 0, ?, NULL, NULL, '' "
    change(data / "marquee.db", row, later)
    change(data / "marquee.db", "UPDATE log SET last = 1")
    assert "behind the newest event" in faults(check_database(data, now()))["clock"]


def test_a_clock_that_was_never_set(tmp_path: Path) -> None:
    assert "1970" in faults(check_database(tmp_path, datetime.fromtimestamp(0, UTC)))["clock"]


# The program.


def test_an_old_python_and_an_old_sqlite() -> None:
    assert "3.10.9" in faults(check_program(LOCK, python=(3, 10, 9)))["python"]
    assert "3.40.1" in notes(check_program(LOCK, sqlite=(3, 40, 1)))["sqlite"]
    assert "sqlite" not in notes(check_program(LOCK, sqlite=(3, 51, 3)))


def test_packages_other_than_locked(tmp_path: Path) -> None:
    assert faults(check_program(LOCK)) == {}
    lock = tmp_path / "lock"
    lock.write_text("tornado==1.0 \\\n    --hash=x\nnowhere-to-be-found==2\n")
    assert "tornado is 6" in faults(check_program(lock))["packages"]
    assert "nowhere-to-be-found is missing" in faults(check_program(lock))["packages"]
    assert "cannot be read" in faults(check_program(tmp_path / "none"))["packages"]
    assert faults(check_program(None)) == {}


# The machine.


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    (tmp_path / "proc" / "sys" / "net" / "core").mkdir(parents=True)
    (tmp_path / "proc" / "sys" / "net" / "core" / "somaxconn").write_text("4096\n")
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:       16000000 kB\n")
    return tmp_path / "proc"


def test_as_many_files_are_asked_for_as_the_start_asks_for() -> None:
    assert RESERVED_FILES == _RESERVED_OPEN_FILES
    assert ServerLimits().fit_open_files(1_024 - _RESERVED_OPEN_FILES).max_connections == 568


def test_fewer_files_than_connections() -> None:
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, 1_024)); "
        "from commands.doctor.machine import check_machine; from app.settings import Settings; "
        "print([each.remedy for each in check_machine(Settings()) if each.state == 'fault'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == str(
        ["LimitNOFILE=12896 in the unit (ulimit -Hn), or --max-connections 568"]
    )


def test_more_memory_promised_than_there_is(proc: Path, tmp_path: Path) -> None:
    none = tmp_path / "none"
    assert faults(check_machine(Settings(), proc, none)) == {}
    large = Settings(queue_bytes=1 << 33)
    assert "8,256 MB of 15,625 MB" in faults(check_machine(large, proc, none))["memory"]
    limit = tmp_path / "memory.max"
    limit.write_text("134217728\n")
    assert "of 128 MB" in faults(check_machine(Settings(), proc, limit))["memory"]
    limit.write_text("max\n")
    assert faults(check_machine(Settings(), proc, limit)) == {}
    assert "cannot be told" in notes(check_machine(Settings(), none, none))["memory"]


def test_one_core(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    assert "one core" in notes(check_machine(Settings(), proc))["cores"]


def test_a_short_backlog(proc: Path) -> None:
    (proc / "sys" / "net" / "core" / "somaxconn").write_text("128\n")
    assert "128" in notes(check_machine(Settings(), proc))["backlog"]


def test_slots_that_follow_another_clock_than_the_machines(proc: Path, tmp_path: Path) -> None:
    local = tmp_path / "localtime"
    local.symlink_to("/usr/share/zoneinfo/Europe/Berlin")
    assert "--tz Europe/Berlin" in notes(check_machine(Settings(), proc, localtime=local))["tz"]
    assert "tz" not in notes(check_machine(Settings(tz="Europe/Berlin"), proc, localtime=local))
    local.unlink()
    local.symlink_to("/usr/share/zoneinfo/Etc/UTC")
    assert "tz" not in notes(check_machine(Settings(), proc, localtime=local))


def test_what_cannot_be_told_of_the_disk_is_told(proc: Path) -> None:
    assert "cannot be told" in notes(check_machine(Settings(), proc))["disk"]


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
def test_settings_that_should_not_stay(settings: Settings, check: str) -> None:
    assert list(faults(check_settings(settings))) == [check]


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
def test_settings_that_an_owner_should_know_of(settings: Settings, check: str) -> None:
    assert check in notes(check_settings(settings))
    assert faults(check_settings(settings)) == {}


@pytest.mark.parametrize(
    "settings",
    [
        Settings(host="0.0.0.0", proxies="10.0.0.1"),
        Settings(host="0.0.0.0", tls_cert="a", tls_key="b"),
        Settings(host="localhost"),
        Settings(host="::1"),
    ],
)
def test_settings_that_are_well(settings: Settings) -> None:
    assert faults(check_settings(settings)) == {}


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


def test_a_certificate_that_is_well_expires_soon_has_expired_or_is_early(
    pairs: dict[str, tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = of(pairs["one"])
    assert faults(check_certificate(settings, now())) == {}
    assert "9 days" in faults(check_certificate(settings, now() + timedelta(days=80)))["tls"]
    assert list(check_certificate(Settings(), now())) == []


@pytest.mark.parametrize(("days", "words"), [(-3, "has expired"), (3, "is not valid yet")])
def test_a_certificate_of_another_time(tmp_path: Path, days: int, words: str) -> None:
    """Made by openssl's own clock, which is not ours to turn: so by its dates."""
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
    assert words in faults(check_certificate(of((str(cert), str(key))), now()))["tls"]


def test_a_certificate_that_cannot_be_used(
    pairs: dict[str, tuple[str, str]], tmp_path: Path
) -> None:
    one, other = pairs["one"], pairs["other"]
    assert "is not its key" in faults(check_certificate(of((one[0], other[1])), now()))["tls"]
    assert "cannot be read" in faults(check_certificate(of(("/nowhere", one[1])), now()))["tls"]
    (tmp_path / "words").write_text("words")
    spoilt = faults(check_certificate(of((str(tmp_path / "words"), one[1])), now()))
    assert "cannot be used" in spoilt["tls"]
    key = tmp_path / "key"
    shutil.copy(one[1], key)
    key.chmod(0o644)
    assert "chmod o=" in faults(check_certificate(of((one[0], str(key))), now()))["tls"]
    assert ssl.OPENSSL_VERSION


# Who serves.


def test_a_port_in_use_and_an_address_that_is_not_ours(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        busy = Settings(data=str(data), port=port)
        assert f"sport = :{port}" in faults(check_server(busy))["address"]
    assert faults(check_server(Settings(data=str(data), port=port))) == {}
    elsewhere = Settings(data=str(data), host="192.0.2.1")
    assert "ip addr" in faults(check_server(elsewhere))["address"]
    nowhere = Settings(data=str(data), host="no such host")
    assert "is no address" in faults(check_server(nowhere))["address"]


def test_a_port_that_only_root_may_have(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    found = faults(check_server(Settings(data=str(data), port=443)))
    assert "marquee.socket" in found["address"]


def test_a_holder_that_does_not_answer(data: Path) -> None:
    with (data / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711\n")
        lock.flush()
        found = faults(check_server(Settings(data=str(data))))
    assert "process 4711 holds the folder and does not answer" in found["server"]


@pytest.fixture
def reader(data: Path) -> Iterator[int]:
    code = "import sys; file = open(sys.argv[1]); print(flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, str(data / "marquee.db")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_another_program_at_the_database(data: Path, reader: int) -> None:
    found = notes(check_server(Settings(data=str(data))))
    assert f"process {reader} (python" in found["others"]


def test_nothing_that_is_found_is_without_words(data: Path) -> None:
    settings = Settings(data=str(data), host="0.0.0.0", port=0)
    found = [
        *check_data_folder(data),
        *check_database(data, now()),
        *check_server(settings),
        *check_machine(settings),
    ]
    assert all(each.words and each.check for each in found)
    assert json.dumps([each.state for each in found])


def test_a_key_with_a_pass_phrase_is_told_of_and_nobody_is_asked(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = ["req", "-x509", "-newkey", "rsa:2048", "-passout", "pass:x", "-subj", "/CN=x"]
    command = ["openssl", *words, "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    assert "a pass phrase" in faults(check_certificate(of((cert, key)), now()))["tls"]


def test_images_that_may_not_be_read(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def forbidden(self: Path, mode: str) -> BinaryIO:
        if self.parent.name == "images":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, mode)  # type: ignore[return-value]

    monkeypatch.setattr(Path, "open", forbidden)
    assert (
        "1 banners' images are missing, damaged or unreadable"
        in faults(check_database(data, now()))["images"]
    )


def test_a_clock_that_is_years_ahead_of_the_newest_event(data: Path) -> None:
    row = "INSERT INTO event SELECT 1, 1, 1, 's', 1, NULL, 'c', 'n', 0, ?, NULL, NULL, '' "
    change(data / "marquee.db", row, time.time_ns() // 1_000)
    change(data / "marquee.db", "UPDATE log SET last = 1, received = 1, stored = 1")
    assert "clock" not in notes(check_database(data, now()))
    assert (
        "if that is not so" in notes(check_database(data, now() + timedelta(days=3_650)))["clock"]
    )


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://nowhere.invalid"])
def test_an_upstream_that_does_not_answer(address: str) -> None:
    assert "does not answer" in faults(check_upstream(Settings(upstream=address)))["upstream"]


def test_an_upstream_that_does() -> None:
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
    assert [each.state for each in found] == ["well"]
    assert list(check_upstream(Settings())) == []
