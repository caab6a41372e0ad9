"""Path traversal: no name, in an address, an archive or a backup, leads out of its place."""

import contextlib
import hashlib
import io
import os
import re
import socket
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.audience.audience_site import wait_for
from tests.support.web.admin_session import page_text
from tests.support.web.attack_target import AttackTarget, zip_files

# A file of ours that is not to be served, a file of the system, what lies beside the database.
SECRET = {
    "server.py": b"The one place where things",
    "etc/passwd": b"root:",
    "marquee.db": b"SQLite f",
}
UP = [
    "../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "..\\", "....//", ".%2e/", "%2e./", "..;/",
    "..%252f", "%c0%ae%c0%ae/", "..%c0%af", "..%00/", "/", "//", "%2f", "./../", "images/../",
]  # fmt: skip
PLACES = ["/static/", "/static/./", "/banners/", "/admin/uploads/", "/live/", "/"]
# Names of files as forms and archives say them; none is to be written but into the upload's folder.
NAMES = [
    "../../evil.csv", "../evil/clicks_1.csv", "/tmp/evil-of-marquee/clicks_2.csv",
    "..\\..\\clicks_3.csv", "C:\\Windows\\clicks_4.csv", "1/../../../conversions_1.csv",
    "images/../../../image_1.svg", "....//....//targets.csv", "~/conversions_2.csv",
    "$HOME/conversions_3.csv", "conversions_4.csv%00.png", "%2e%2e%2fclicks_1.csv",
    "file:///impressions_1.csv", ".", "..", "/", "\\",
    "../../marquee.db", "../../../data/marquee.db",
    "1/\u202evsc.1_skcilc", "x" * 5_000 + ".csv", "-rf", "|id>evil", "`id>evil`", "$(id>evil)",
    "; id > evil", "../" * 500 + "etc/cron.d/evil",
]  # fmt: skip


def raw(target: AttackTarget, path: str) -> bytes:
    """The whole response to an address that no client would send so."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nCookie: {target.owner.cookie}\r\n"
    with contextlib.closing(
        socket.create_connection(("127.0.0.1", target.server.port), 10)
    ) as there:
        there.sendall(f"{request}Connection: close\r\n\r\n".encode("utf-8", "surrogateescape"))
        response = b""
        while piece := there.recv(65_536):
            response += piece
    return response


def found(target: AttackTarget, place: str, up: str) -> list[str]:
    """What can be read by so many of these."""
    return [
        f"{path} {count}"
        for count in (1, 3, 9)
        for path, content in SECRET.items()
        if content in raw(target, f"{place}{up * count}{path}")
    ]


@pytest.mark.parametrize("up", UP)
def test_no_address_leads_to_a_file_that_is_not_static(target, up):
    for place in PLACES:
        assert found(target, place, up) == []


def test_folders_and_files_of_the_repository_are_not_there(target):
    for path in ("/.git/config", "/.git/HEAD", "/static/.git/config", "/static/", "/static",
                 "/templates/base.html", "/data/marquee.db", "/marquee.db", "/server.py",
                 "/static/../.git/HEAD", "/requirements.lock", "/.env"):  # fmt: skip
        assert raw(target, path).split()[1] in (b"404", b"403"), path


def test_without_the_guard_an_address_leads_out(weakened):
    assert any(found(weakened, "/static/", up) for up in UP)


def paths(folder: Path) -> list[Path]:
    """All that is in a folder; what goes meanwhile is none of it."""
    return [Path(place, name) for place, _, names in os.walk(folder) for name in names]


def lies(folder: Path) -> set[str]:
    """All files in and beside a data folder."""
    within = {str(path.relative_to(folder)) for path in paths(folder) if path.is_file()}
    return within | {path.name for path in folder.parent.iterdir()}


def kept(name: str) -> bool:
    return bool(
        re.match(r"(marquee|views)\.db(-wal|-shm)?$|images/[0-9a-f]{64}$|lock$|data$", name)
    )


def strangers(target: AttackTarget) -> set[str]:
    """Files in and beside the data folder that are no business of ours."""
    return {name for name in lies(target.server.data) if not kept(name)}


@pytest.mark.parametrize("packed", [False, True], ids=["form", "zip"])
def test_files_of_an_upload_go_nowhere_else(target, packed):
    # A form whose names are that long is refused as a whole (test_zip_bombs.py).
    files = [(name, b"evil") for name in NAMES if packed or len(name) < 1_000]
    page = target.wait_for_upload(
        target.upload(*([("a.zip", zip_files(files))] if packed else files))
    )
    # Those of a name that belongs to a campaign were laid where they belong, and read there.
    assert "clicks_1.csv" in page_text(page) and "Traceback" not in page.text
    wait_for(lambda: not strangers(target))
    assert not Path("/tmp/evil-of-marquee").exists() and not (ROOT / "evil").exists()


def test_a_link_in_a_zip_is_a_file_like_any_other(target):
    made = io.BytesIO(zip_files([("targets.csv", b"banner_id,url\n")]))
    with zipfile.ZipFile(made, "a") as archive:
        link = zipfile.ZipInfo("images/image_5.svg")
        link.create_system = 3
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    page = target.wait_for_upload(target.upload(("a.zip", made.getvalue())))
    assert "root:" not in page.text
    assert b"root:" not in target.server.request("/banners/5").body
    assert not any(path.is_symlink() for path in paths(target.server.data))


def test_without_the_guard_a_member_lies_where_it_says(weakened):
    weakened.wait_for_upload(weakened.upload(("a.zip", zip_files([("../../evil.csv", b"evil")]))))
    assert "evil.csv" in lies(weakened.server.data)


def ask(target: AttackTarget, path: str, method: str = "POST", body: bytes = b"{}") -> bytes:
    """The response of the owner's socket."""
    here = os.open(target.server.data, os.O_RDONLY)
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as there:
            there.connect(f"/proc/self/fd/{here}/marquee.sock")
            there.settimeout(120)
            there.sendall(
                f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            response = b""
            while piece := there.recv(65_536):
                response += piece
    finally:
        os.close(here)
    return response


@pytest.mark.parametrize(
    "path",
    ["/ask/__init__", "/ask/__class__", "/ask/../import", "/ask/run", "/ask/..%2fReadme",
     "/import/1/__init__", "/import/1/begin", "/import/1/abort", "/import/1/_database",
     "/import/../../etc/passwd", "/replay/../1", "/static/../server.py", "/admin/", "/"],
)  # fmt: skip
def test_a_command_is_one_of_those_that_there_are(target, path):
    response = ask(target, path)
    assert response.split()[1] in (b"404", b"400", b"405", b"422"), response[:200]
    assert b"Traceback" not in response and b"root:" not in response


def test_commands_socket_and_folder_are_the_owners_alone(target):
    data = target.server.data
    for path in (data, data / "marquee.sock", data / "marquee.db", data / "images"):
        assert path.stat().st_mode & 0o077 == 0, path


def tar_of(folder: Path, *files: tuple[str, bytes | str]) -> Path:
    """A tar with these files; a text is a link to what it says."""
    path = folder / "evil.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                tar.addfile(entry)
            else:
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
    return path


IMAGE = hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize(
    "files",
    [
        [
            ("../evil", b"x"),
            ("images/../../evil", b"x"),
            ("/tmp/evil-of-marquee/x", b"x"),
            (f"images/{IMAGE}/../../../evil", b"x"),
            ("marquee.db/../../evil", b"x"),
            ("marquee.db", b"SQLite format 3\0"),
        ],
        [("images", "/tmp"), (f"images/{IMAGE}", b"x")],
        [("marquee.db", "/etc/passwd"), (f"images/{IMAGE}", "/etc/passwd")],
    ],
    ids=range(3),
)
def test_a_backup_from_a_stranger_writes_nowhere_else(tmp_path, files):
    source = tar_of(tmp_path, *files)
    before = {str(path) for path in tmp_path.rglob("*")}
    done = subprocess.run(
        [sys.executable, "server.py", "restore", str(source), "--data", str(tmp_path / "data")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    made = {str(path) for path in tmp_path.rglob("*")} - before
    assert {Path(each).name for each in made} <= {"data", "lock"}
    assert not Path("/tmp/evil-of-marquee").exists()
