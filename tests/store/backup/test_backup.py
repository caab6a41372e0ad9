"""Backups: of one state, whole or not there, and put back as they were."""

import asyncio
import errno
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
from collections.abc import Awaitable, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from domain.banners.image_types import image_type
from imports.importer import import_folder
from store.api.errors import StoreBusy, StoreError, StoreRefused, StoreTooNew
from store.sqlite.backup import backup
from store.sqlite.backup.backup import MANIFEST_FILE, create_backup, read_last_backup
from store.sqlite.backup.restore import restore_backup
from store.sqlite.core.data_folder import prepare_data_folder
from store.sqlite.core.database import Database
from store.sqlite.core.folder_lock import FolderLock
from store.sqlite.imports import import_sweeper
from store.sqlite.imports.import_staging import ImportStaging
from tests.support import ROOT
from tests.support.banners.campaign_files import PNG, SMALL_CAMPAIGN, with_database, write_files
from tests.support.events.event_rows import event_row
from tests.support.events.event_store import OpenEventStore


def silent(done: int, total: int) -> None:
    """Hears nothing."""


def use(folder: Path, deed: Callable[[OpenEventStore], Awaitable[None]]) -> None:
    async def run() -> None:
        async with OpenEventStore(folder) as opened:
            await deed(opened)

    asyncio.run(run())


def ids(database: Path) -> list[int]:
    connection = sqlite3.connect(database)
    try:
        return [number for (number,) in connection.execute("SELECT id FROM event ORDER BY id")]
    finally:
        connection.close()


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with an import, images among it, and some megabytes of events."""
    place = tmp_path_factory.mktemp("filled")

    async def fill(opened: OpenEventStore) -> None:
        source = write_files(place / "campaigns", SMALL_CAMPAIGN)
        await import_folder(source, ImportStaging(opened.database, place / "data" / "images"))
        for _ in range(4):
            await opened.append(*[event_row(data=json.dumps({"x": "y" * 900}))] * 1_000)
        await opened.projections.catch_up()

    use(place / "data", fill)
    return place / "data"


@pytest.fixture
def data(filled: Path, tmp_path: Path) -> Path:
    """One's own copy of that."""
    return Path(shutil.copytree(filled, tmp_path / "data"))


def test_a_backup_is_of_one_state_and_holds_up_no_commit(data: Path, tmp_path: Path) -> None:
    amid, go_on = threading.Event(), threading.Event()
    made = []

    def told(done: int, total: int) -> None:
        assert 0 <= done <= total
        amid.set()
        assert go_on.wait(120)

    async def deed(opened: OpenEventStore) -> None:
        before = ids(data / "marquee.db")
        thread = threading.Thread(
            target=lambda: made.append(create_backup(data, tmp_path / "to", told))
        )
        thread.start()
        await asyncio.to_thread(amid.wait, 20)
        # It stands still amid its copying; what comes now is committed and read all the same.
        for _ in range(30):
            await asyncio.wait_for(opened.append(*[event_row(data="z" * 2_000)] * 100), 5)
        assert len(await opened.find_ids(name="pageview")) == 1_000  # a page of them
        after = ids(data / "marquee.db")
        go_on.set()
        await asyncio.to_thread(thread.join, 20)
        (place, found) = made[0]
        assert ids(place / "marquee.db") == before
        assert found.events == len(before)
        assert len(after) == len(before) + 3_000

    use(data, deed)


def test_a_plain_copy_of_the_file_would_lack_what_was_acknowledged(
    data: Path, tmp_path: Path
) -> None:
    """So the test above can fail: the newest commits stand in the WAL."""

    async def deed(opened: OpenEventStore) -> None:
        await opened.append(event_row())
        shutil.copy(data / "marquee.db", tmp_path / "copy.db")
        place, _ = create_backup(data, tmp_path / "to", silent)
        assert ids(place / "marquee.db") == ids(data / "marquee.db") != ids(tmp_path / "copy.db")

    use(data, deed)


@pytest.mark.parametrize("to", ["to", "to.tar"])
def test_what_is_put_back_is_what_was_backed_up(data: Path, tmp_path: Path, to: str) -> None:
    place, made = create_backup(data, tmp_path / to, silent)
    assert (made.images, made.lacking, made.events) == (2, [], 4_000)
    restored = restore_backup(place, tmp_path / "other", silent)
    assert (restored.events, restored.images, restored.replaced) == (4_000, 2, None)
    assert ids(tmp_path / "other" / "marquee.db") == ids(data / "marquee.db")
    images = {file.name: file.read_bytes() for file in (tmp_path / "other" / "images").iterdir()}
    assert images == {file.name: file.read_bytes() for file in (data / "images").iterdir()}
    assert all(image_type(body) for body in images.values())
    for path in (tmp_path / "other").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_backup_changes_nothing_in_the_database_it_reads(data: Path, tmp_path: Path) -> None:
    """A reader that wrote or checkpointed could harm it with an SQLite before 3.51.3."""

    def state() -> list[tuple[bytes, int]]:
        files = [data / "marquee.db", data / "marquee.db-wal"]
        return [(file.read_bytes(), file.stat().st_mtime_ns) for file in files if file.exists()]

    async def deed(opened: OpenEventStore) -> None:
        await opened.append(event_row())
        before = state()
        create_backup(data, tmp_path / "to", silent)
        assert len(before[1][0])
        assert state() == before

    use(data, deed)


def test_views_that_are_ahead_of_what_was_put_back_are_made_anew(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place, _ = create_backup(data, tmp_path / "to", silent)

    async def go_on(opened: OpenEventStore) -> None:
        await opened.append(event_row(name="later"))
        await opened.projections.catch_up()

    use(data, go_on)
    # As someone would who knows no `restore`.
    shutil.copy(place / "marquee.db", data / "marquee.db")

    async def look(opened: OpenEventStore) -> None:
        assert "ahead of the log" in caplog.text
        assert len(await opened.find_ids(name="later")) == 0
        await opened.append(event_row(name="other"))
        assert len(await opened.find_ids(name="other")) == 1

    use(data, look)


def test_views_of_what_came_after_the_backup_are_never_taken_for_those_of_what_came_instead(
    data: Path, tmp_path: Path
) -> None:
    place, _ = create_backup(data, tmp_path / "to", silent)

    async def lost(opened: OpenEventStore) -> None:
        await opened.append(event_row(name="lost"))
        await opened.projections.catch_up()

    async def instead(opened: OpenEventStore) -> None:
        await opened.append(event_row(name="instead"))

    use(data, lost)
    shutil.copy(data / "views.db", tmp_path / "views.db")
    restore_backup(place, data, silent, replace=True)
    assert not (data / "views.db").exists()
    use(data, instead)
    # By its ids alone, this one is not ahead.
    shutil.copy(tmp_path / "views.db", data / "views.db")

    async def look(opened: OpenEventStore) -> None:
        counted = {each[4]: each[5] for each in (await opened.projection_counts())[0]}
        assert counted == {"pageview": 4_000, "instead": 1}

    use(data, look)


def test_imports_that_replace_images_amid_a_backup_make_it_begin_anew(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the copy names was put in force after the images were copied, and is gone by now."""

    def publish(name: str) -> None:
        again = write_files(tmp_path / name, {"images/image_1.png": PNG + name.encode()})

        async def job(database: Database) -> None:
            staging = ImportStaging(database, data / "images")
            await import_folder(again, staging)
            await staging.clean_up()

        with_database(data, job)

    def amid(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 1:
            publish("one")
        copy_pages(*arguments)
        if len(calls) == 1:
            publish("two")

    # As if eight more imports had come, beyond which nothing replaced is kept.
    monkeypatch.setattr(import_sweeper, "MAX_UNMERGED_IMPORTS", 0)
    calls: list[int] = []
    copy_pages = backup.copy_database
    monkeypatch.setattr(backup, "copy_database", amid)
    place, made = create_backup(data, tmp_path / "to", silent)
    assert len(calls) == 2
    assert made.lacking == []
    connection = sqlite3.connect(place / "marquee.db")
    named = {each.hex() for (each,) in connection.execute("SELECT sha256 FROM image")}
    connection.close()
    assert named <= {file.name for file in (place / "images").iterdir()}
    assert sha256(PNG + b"two").hexdigest() in named


def test_an_image_that_the_folder_has_lost_is_told_and_the_rest_is_backed_up(
    data: Path, tmp_path: Path
) -> None:
    first, second = sorted((data / "images").iterdir())
    first.unlink()
    second.write_bytes(b"spoilt")
    _, made = create_backup(data, tmp_path / "to", silent)
    assert made.lacking == [first.name, second.name]
    assert sorted(made.lacking_of.values()) == [[1], [2]]
    assert (made.images, made.events) == (0, 4_000)


def test_the_newest_are_kept_and_the_folder_remembers_the_last(data: Path, tmp_path: Path) -> None:
    to = tmp_path / "to"
    assert read_last_backup(data) is None
    places = [create_backup(data, to, silent)[0] for _ in range(3)]
    place, made = create_backup(data, to, silent, keep=2)
    assert sorted(to.iterdir()) == sorted([places[2], place])
    note = read_last_backup(data)
    assert note is not None
    assert (note.at, note.place) == (made.at, str(place))


def test_a_backup_that_was_killed_is_none_and_is_cleared_away(data: Path, tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; "
        "from store.sqlite.backup.backup import create_backup; "
        "create_backup(Path(sys.argv[1]), Path(sys.argv[2]), lambda *_: (print(flush=True), "
        "time.sleep(60)))"
    )
    for to in (tmp_path / "to", tmp_path / "to" / "x.tar"):
        with subprocess.Popen(
            [sys.executable, "-c", code, data, to], cwd=ROOT, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout
            process.stdout.readline()
            process.send_signal(signal.SIGKILL)
        (part,) = (tmp_path / "to").iterdir()
        with pytest.raises(StoreError, match="no backup"):
            restore_backup(part, tmp_path / "other", silent)
        place, _ = create_backup(data, tmp_path / "to", silent)
        assert list((tmp_path / "to").iterdir()) == [place]
        shutil.rmtree(place)


def test_no_backup_is_made_of_what_is_not_sound(data: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(data / "marquee.db")
    connection.execute("UPDATE log SET stored = stored + 1")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="4,000 received, but 4,001"):
        create_backup(data, tmp_path / "to", silent)
    assert list((tmp_path / "to").iterdir()) == []


def test_without_a_database_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="has no marquee"):
        create_backup(tmp_path, tmp_path / "to", silent)
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_finds_no_room_is_told_and_leaves_nothing(data: Path, tmp_path: Path) -> None:
    """As a full disk does, a limit of a file's size fails its writes."""
    code = (
        "import resource, sys; from pathlib import Path; "
        "from store.sqlite.backup.backup import create_backup; "
        "from store.api.errors import StoreError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "try:\n    create_backup(Path(sys.argv[1]), Path(sys.argv[2]), lambda *_: None)\n"
        "except StoreError as error:\n    print(error)\n"
    )
    words = [sys.executable, "-c", code, str(data), str(tmp_path / "to")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "cannot be copied" in done.stdout, done.stderr
    assert list((tmp_path / "to").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [("marquee.db", "damaged"), ("images", "damaged"), (MANIFEST_FILE, "backup.json")],
)
def test_a_damaged_backup_is_refused_and_nothing_changes(
    data: Path, tmp_path: Path, name: str, words: str
) -> None:
    place, _ = create_backup(data, tmp_path / "to", silent)
    path = place / name
    path = next(path.iterdir()) if path.is_dir() else path
    body = bytearray(path.read_bytes())
    body[len(body) // 2 if name != MANIFEST_FILE else 0] ^= 1
    path.write_bytes(body)
    before = (data / "marquee.db").read_bytes()
    with pytest.raises(StoreRefused, match=words):
        restore_backup(place, data, silent, replace=True)
    assert (data / "marquee.db").read_bytes() == before
    assert not (data / ".restoring").exists()


def test_a_lone_database_is_taken_as_what_it_is(data: Path, tmp_path: Path) -> None:
    """Another tool's copy; without a manifest its pages and sums alone can be looked at."""
    restore_backup(data / "marquee.db", tmp_path / "one", silent)
    assert ids(tmp_path / "one" / "marquee.db") == ids(data / "marquee.db")
    spoilt = bytearray((data / "marquee.db").read_bytes())
    spoilt[40_960:45_056] = os.urandom(4_096)
    (tmp_path / "spoilt.db").write_bytes(spoilt)
    with pytest.raises(StoreError):
        restore_backup(tmp_path / "spoilt.db", tmp_path / "two", silent)
    assert not (tmp_path / "two" / "marquee.db").exists()


def test_a_folder_in_use_is_left_alone_whatever_is_said(data: Path, tmp_path: Path) -> None:
    place, _ = create_backup(data, tmp_path / "to", silent)
    with FolderLock(data), pytest.raises(StoreBusy, match=str(os.getpid())):
        restore_backup(place, data, silent, replace=True)


def test_a_folder_that_is_not_empty_is_put_aside_only_if_that_is_said(
    data: Path, tmp_path: Path
) -> None:
    place, _ = create_backup(data, tmp_path / "to", silent)
    use(data, lambda opened: opened.append(event_row(name="later")))
    later = ids(data / "marquee.db")
    with pytest.raises(StoreRefused, match="is not empty"):
        restore_backup(place, data, silent)
    assert ids(data / "marquee.db") == later
    replaced = restore_backup(place, data, silent, replace=True).replaced
    assert replaced is not None
    assert ids(data / "marquee.db") == later[:-1]
    assert ids(Path(replaced) / "marquee.db") == later


def test_what_a_newer_program_wrote_is_refused(data: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(data / "marquee.db")
    connection.execute("INSERT INTO migration VALUES (999, 'later', 0)")
    connection.commit()
    connection.close()
    place, _ = create_backup(data, tmp_path / "to", silent)
    with pytest.raises(StoreTooNew, match="'later'"):
        restore_backup(place, tmp_path / "other", silent)
    assert not (tmp_path / "other" / "marquee.db").exists()


@pytest.mark.parametrize(
    ("what", "words"),
    [("nowhere", "is not there"), ("to", "the newest of those in it"), ("text", "database")],
)
def test_what_is_no_backup_is_told_apart(data: Path, tmp_path: Path, what: str, words: str) -> None:
    create_backup(data, tmp_path / "to", silent)
    (tmp_path / "text").write_text("words")
    with pytest.raises(StoreError, match=words):
        restore_backup(tmp_path / what, tmp_path / "other", silent)


def test_a_tar_writes_nowhere_but_in_the_folder(data: Path, tmp_path: Path) -> None:
    place, _ = create_backup(data, tmp_path / "good.tar", silent)
    evil = tmp_path / "evil.tar"
    names = ["../out", "/tmp/marquee-out", "images/../../out", "images/" + "a" * 63 + "/", "x"]
    with tarfile.open(place) as good, tarfile.open(evil, "w") as tar:
        for member in good:
            tar.addfile(member, good.extractfile(member) if member.isreg() else None)
        for name in names:
            tar.add(place, name)
        link = tarfile.TarInfo("images/" + "b" * 64)
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    restore_backup(evil, tmp_path / "other", silent)
    assert {path.name for path in (tmp_path / "other").iterdir()} == {
        "lock",
        "marquee.db",
        "images",
    }
    assert len(list((tmp_path / "other" / "images").iterdir())) == 2
    assert not (tmp_path / "out").exists()
    assert not Path("/tmp/marquee-out").exists()


def test_a_second_backup_in_the_same_folder_is_told_to_wait(data: Path, tmp_path: Path) -> None:
    def told(done: int, total: int) -> None:
        with pytest.raises(StoreBusy, match="another backup"):
            create_backup(data, tmp_path / "to", silent)

    place, _ = create_backup(data, tmp_path / "to", told)
    assert list((tmp_path / "to").iterdir()) == [place]


def named(folder: Path) -> list[str]:
    """The names in a folder, but for those that come with looking into it."""
    names = [path.name for path in folder.iterdir()]
    return sorted(name for name in names if name != "lock" and not name.endswith(("-wal", "-shm")))


# Ends at the Nth change of a name, as a kill would.
KILLED = """
import os, shutil, sys
from pathlib import Path
from store.sqlite.core.data_folder import INSTALLATION_NAMES
from store.sqlite.backup.restore import restore_backup
left = int(sys.argv[3])
def counted(owner, name):
    real = getattr(owner, name)
    def call(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os._exit(9)
        return real(*args, **kwargs)
    setattr(owner, name, call)
for name in ("rename", "unlink"):
    counted(Path, name)
counted(shutil, "rmtree")
restore_backup(Path(sys.argv[1]), Path(sys.argv[2]), lambda *_: None, replace=True)
"""


def test_a_restore_that_is_killed_at_any_step_is_finished_or_has_changed_nothing(
    data: Path, tmp_path: Path
) -> None:
    place, _ = create_backup(data, tmp_path / "to", silent)
    backed_up = ids(data / "marquee.db")
    use(data, lambda opened: opened.append(event_row(name="later")))
    later, images = (
        ids(data / "marquee.db"),
        sorted(path.name for path in (data / "images").iterdir()),
    )
    seen, step, status = [], 0, 9
    while status == 9:
        copy = tmp_path / f"copy{step}"
        shutil.copytree(data, copy)
        words = [sys.executable, "-c", KILLED, str(place), str(copy), str(step)]
        status = subprocess.run(words, cwd=ROOT, timeout=60, check=False).returncode
        with FolderLock(copy):
            prepare_data_folder(copy)
        found = ids(copy / "marquee.db")
        assert found in (later, backed_up)
        assert named(copy / "images") == images
        assert found == later or len(list(copy.glob("replaced-*/marquee.db"))) == 1
        seen.append(found == later)
        shutil.rmtree(copy)
        step += 1
    assert status == 0
    assert seen == sorted(seen, reverse=True) and True in seen and seen.count(False) > 4


@pytest.mark.parametrize("failing", ["marquee.db", "images"])
def test_a_restore_that_cannot_move_a_file_goes_back(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    place, _ = create_backup(data, tmp_path / "to", silent)
    use(data, lambda opened: opened.append(event_row(name="later")))
    later, names = ids(data / "marquee.db"), named(data)
    real, leaving = Path.rename, ""

    def busy(self: Path, target: Path) -> Path:
        # Once each way: when the old one leaves, or when the new one comes.
        if self.name == failing and self.parent.name == leaving:
            raise OSError(errno.EBUSY, "Device or resource busy", str(self))
        return real(self, target)

    monkeypatch.setattr(Path, "rename", busy)
    for place_of_old in ("data", ".restoring"):
        leaving = place_of_old
        with pytest.raises(StoreError, match="Device or resource busy"):
            restore_backup(place, data, silent, replace=True)
        assert named(data) == names
        assert ids(data / "marquee.db") == later


def test_a_restore_over_a_mounted_folder_is_refused_before_anything_changes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, _ = create_backup(data, tmp_path / "to", silent)
    names = named(data)
    monkeypatch.setattr(Path, "is_mount", lambda self: self.name == "images")
    with pytest.raises(StoreRefused, match="images is a mount point"):
        restore_backup(place, data, silent, replace=True)
    assert named(data) == names


@pytest.mark.parametrize(
    "trace",
    ["images/x", "views.db", "marquee.db-wal", "last-backup.json", "replaced-1/x", ".restoring/x"],
)
def test_no_installation_is_begun_in_what_is_left_of_another(tmp_path: Path, trace: str) -> None:
    write_files(tmp_path, {trace: "x"})
    for empty in (False, True):
        if empty:
            (tmp_path / "marquee.db").touch()
        with pytest.raises(StoreError, match=r"of an installation: .*restore BACKUP --replace"):
            prepare_data_folder(tmp_path)


def test_an_installation_is_begun_in_a_folder_that_others_use(tmp_path: Path) -> None:
    write_files(tmp_path, {"lost+found/x": "", "lock": "1", "notes.txt": "", "marquee.sock": ""})
    (tmp_path / "images").mkdir()  # where a volume is mounted
    prepare_data_folder(tmp_path)
    (tmp_path / "marquee.db").touch()  # a start that was cut off
    prepare_data_folder(tmp_path)
