"""Path traversal: no name in a URL, an archive or a backup reaches files outside its folder."""

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

# A source file, a system file, and the database, with the start of their content.
SECRET_FILES = {
    "server.py": b"The one place where things",
    "etc/passwd": b"root:",
    "marquee.db": b"SQLite f",
}
PARENT_ENCODINGS = [
    "../", "..%2f", "%2e%2e/", "%2e%2e%2f", "..%5c", "..\\", "....//", ".%2e/", "%2e./", "..;/",
    "..%252f", "%c0%ae%c0%ae/", "..%c0%af", "..%00/", "/", "//", "%2f", "./../", "images/../",
]  # fmt: skip
PATH_PREFIXES = ["/static/", "/static/./", "/banners/", "/admin/uploads/", "/live/", "/"]
# File names in forms and archives; all must be written to the folder of the upload.
FILE_NAMES = [
    "../../evil.csv", "../evil/clicks_1.csv", "/tmp/evil-of-marquee/clicks_2.csv",
    "..\\..\\clicks_3.csv", "C:\\Windows\\clicks_4.csv", "1/../../../conversions_1.csv",
    "images/../../../image_1.svg", "....//....//targets.csv", "~/conversions_2.csv",
    "$HOME/conversions_3.csv", "conversions_4.csv%00.png", "%2e%2e%2fclicks_1.csv",
    "file:///impressions_1.csv", ".", "..", "/", "\\",
    "../../marquee.db", "../../../data/marquee.db",
    "1/\u202evsc.1_skcilc", "x" * 5_000 + ".csv", "-rf", "|id>evil", "`id>evil`", "$(id>evil)",
    "; id > evil", "../" * 500 + "etc/cron.d/evil",
]  # fmt: skip


def get_raw(target: AttackTarget, path: str) -> bytes:
    """Send a path without normalization; return the response."""
    request = f"GET {path} HTTP/1.1\r\nHost: x\r\nCookie: {target.owner.cookie}\r\n"
    with contextlib.closing(
        socket.create_connection(("127.0.0.1", target.server.port), 10)
    ) as connection:
        connection.sendall(f"{request}Connection: close\r\n\r\n".encode("utf-8", "surrogateescape"))
        response = b""
        while piece := connection.recv(65_536):
            response += piece
    return response


def readable_files(target: AttackTarget, prefix: str, up: str) -> list[str]:
    """Return the secret files that repeated encodings of `../` after a prefix reach."""
    return [
        f"{path} {count}"
        for count in (1, 3, 9)
        for path, content in SECRET_FILES.items()
        if content in get_raw(target, f"{prefix}{up * count}{path}")
    ]


@pytest.mark.parametrize("up", PARENT_ENCODINGS)
def test_url_cannot_reach_other_files(target, up):
    for prefix in PATH_PREFIXES:
        assert readable_files(target, prefix, up) == []


def test_repository_files_are_not_served(target):
    for path in ("/.git/config", "/.git/HEAD", "/static/.git/config", "/static/", "/static",
                 "/templates/base.html", "/data/marquee.db", "/marquee.db", "/server.py",
                 "/static/../.git/HEAD", "/requirements.lock", "/.env"):  # fmt: skip
        assert get_raw(target, path).split()[1] in (b"404", b"403"), path


def test_unprotected_server_serves_other_files(unprotected):
    assert any(readable_files(unprotected, "/static/", up) for up in PARENT_ENCODINGS)


def list_paths(folder: Path) -> list[Path]:
    """Return all files of a folder, although some may be deleted meanwhile."""
    return [Path(parent, name) for parent, _, names in os.walk(folder) for name in names]


def files_in_and_beside(folder: Path) -> set[str]:
    """Return the files in a data folder and the entries beside it."""
    inside = {str(path.relative_to(folder)) for path in list_paths(folder) if path.is_file()}
    return inside | {path.name for path in folder.parent.iterdir()}


def is_expected_file(name: str) -> bool:
    return bool(
        re.match(r"(marquee|views)\.db(-wal|-shm)?$|images/[0-9a-f]{64}$|lock$|data$", name)
    )


def unexpected_files(target: AttackTarget) -> set[str]:
    """Return files in and beside the data folder that the server must not create."""
    return {name for name in files_in_and_beside(target.server.data) if not is_expected_file(name)}


@pytest.mark.parametrize("is_zip", [False, True], ids=["form", "zip"])
def test_uploaded_files_stay_in_upload_folder(target, is_zip):
    # The server rejects forms with longer names (test_zip_bombs.py).
    files = [(name, b"evil") for name in FILE_NAMES if is_zip or len(name) < 1_000]
    page = target.wait_for_upload(
        target.upload(*([("a.zip", zip_files(files))] if is_zip else files))
    )
    # Files whose names end like those of a campaign are imported.
    assert "clicks_1.csv" in page_text(page) and "Traceback" not in page.text
    wait_for(lambda: not unexpected_files(target))
    assert not Path("/tmp/evil-of-marquee").exists() and not (ROOT / "evil").exists()


def test_symlink_in_zip_is_not_followed(target):
    content = io.BytesIO(zip_files([("targets.csv", b"banner_id,url\n")]))
    with zipfile.ZipFile(content, "a") as archive:
        link = zipfile.ZipInfo("images/image_5.svg")
        link.create_system = 3
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    page = target.wait_for_upload(target.upload(("a.zip", content.getvalue())))
    assert "root:" not in page.text
    assert b"root:" not in target.server.request("/banners/5").body
    assert not any(path.is_symlink() for path in list_paths(target.server.data))


def test_unprotected_server_writes_outside_upload_folder(unprotected):
    unprotected.wait_for_upload(
        unprotected.upload(("a.zip", zip_files([("../../evil.csv", b"evil")])))
    )
    assert "evil.csv" in files_in_and_beside(unprotected.server.data)


def send_to_control_socket(
    target: AttackTarget, path: str, method: str = "POST", body: bytes = b"{}"
) -> bytes:
    """Send a request to the control socket; return the response."""
    # The path through /proc is short enough for a socket address.
    folder = os.open(target.server.data, os.O_RDONLY)
    try:
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as connection:
            connection.connect(f"/proc/self/fd/{folder}/marquee.sock")
            connection.settimeout(120)
            connection.sendall(
                f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                f"Content-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            response = b""
            while piece := connection.recv(65_536):
                response += piece
    finally:
        os.close(folder)
    return response


@pytest.mark.parametrize(
    "path",
    ["/ask/__init__", "/ask/__class__", "/ask/../import", "/ask/run", "/ask/..%2fReadme",
     "/import/1/__init__", "/import/1/begin", "/import/1/abort", "/import/1/_database",
     "/import/../../etc/passwd", "/replay/../1", "/static/../server.py", "/admin/", "/"],
)  # fmt: skip
def test_unknown_control_command_is_rejected(target, path):
    response = send_to_control_socket(target, path)
    assert response.split()[1] in (b"404", b"400", b"405", b"422"), response[:200]
    assert b"Traceback" not in response and b"root:" not in response


def test_data_folder_is_private(target):
    data = target.server.data
    for path in (data, data / "marquee.sock", data / "marquee.db", data / "images"):
        assert path.stat().st_mode & 0o077 == 0, path


def make_tar(folder: Path, *files: tuple[str, bytes | str]) -> Path:
    """Create a tar archive; content of type str is the target of a symbolic link."""
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


IMAGE_NAME = hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize(
    "files",
    [
        [
            ("../evil", b"x"),
            ("images/../../evil", b"x"),
            ("/tmp/evil-of-marquee/x", b"x"),
            (f"images/{IMAGE_NAME}/../../../evil", b"x"),
            ("marquee.db/../../evil", b"x"),
            ("marquee.db", b"SQLite format 3\0"),
        ],
        [("images", "/tmp"), (f"images/{IMAGE_NAME}", b"x")],
        [("marquee.db", "/etc/passwd"), (f"images/{IMAGE_NAME}", "/etc/passwd")],
    ],
    ids=range(3),
)
def test_hostile_backup_writes_only_to_data_folder(tmp_path, files):
    source = make_tar(tmp_path, *files)
    before = {str(path) for path in tmp_path.rglob("*")}
    done = subprocess.run(
        [sys.executable, "server.py", "restore", str(source), "--data", str(tmp_path / "data")],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1 and "Traceback" not in done.stderr
    created = {str(path) for path in tmp_path.rglob("*")} - before
    assert {Path(each).name for each in created} <= {"data", "lock"}
    assert not Path("/tmp/evil-of-marquee").exists()
