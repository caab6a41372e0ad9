"""The database: one connection that writes, readers beside it, and what breaks."""

import asyncio
import resource
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from store.api.errors import StoreBusy, StoreError, StoreFailed, StoreFull, StoreTooNew
from store.sqlite.core.database import Database
from store.sqlite.core.migrations import migrate
from tests.support.banners.campaign_files import query_rows, with_database

Connection = sqlite3.Connection
ADD = "INSERT INTO counter VALUES (?, ?)"


def add(name: str, value: int = 1) -> Callable[[Connection], None]:
    def job(connection: Connection) -> None:
        connection.execute(ADD, (name, value))

    return job


def one(sql: str) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(sql).fetchone()[0]


def test_what_a_job_returns_reaches_the_caller_once_it_is_on_disk(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        assert await database.write(lambda c: c.execute(ADD, ("a", 1)).rowcount) == 1
        assert query_rows(tmp_path, "SELECT * FROM counter") == [("a", 1)]

    with_database(tmp_path, use)


def test_a_job_that_raises_leaves_nothing_and_the_next_one_works(tmp_path: Path) -> None:
    def spoilt(connection: Connection) -> None:
        add("a")(connection)
        raise LookupError("mine")

    async def use(database: Database) -> None:
        with pytest.raises(LookupError, match="mine"):
            await database.write(spoilt)
        with pytest.raises(sqlite3.IntegrityError):
            await database.write(lambda c: c.execute(ADD, (None, 1)))
        await database.write(add("b"))
        assert database.failed is None

    with_database(tmp_path, use)
    assert query_rows(tmp_path, "SELECT name FROM counter") == [("b",)]


def test_jobs_run_one_by_one_in_the_order_they_came(tmp_path: Path) -> None:
    order: list[int] = []

    async def use(database: Database) -> None:
        await asyncio.gather(
            *[database.write(lambda _, number=number: order.append(number)) for number in range(50)]
        )
        assert database.commits == 50

    with_database(tmp_path, use)
    assert order == list(range(50))


def test_a_job_whose_caller_left_is_done_all_the_same(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        writing = asyncio.create_task(database.write(add("a")))
        await asyncio.sleep(0)
        writing.cancel()
        await database.write(lambda _: None)

    with_database(tmp_path, use)
    assert query_rows(tmp_path, "SELECT name FROM counter") == [("a",)]


def test_a_reader_sees_one_state_throughout_while_others_write(tmp_path: Path) -> None:
    looked, written = threading.Event(), threading.Event()

    def look(connection: Connection) -> tuple[object, object]:
        before = one("SELECT count(*) FROM counter")(connection)
        looked.set()
        assert written.wait(120)
        return before, one("SELECT count(*) FROM counter")(connection)

    async def use(database: Database) -> None:
        reading = asyncio.create_task(database.read(look))
        await asyncio.to_thread(looked.wait, 10)
        await database.write(add("a"))
        written.set()
        assert await reading == (0, 0)
        assert await database.read(one("SELECT count(*) FROM counter")) == 1

    with_database(tmp_path, use)


def test_more_readers_than_connections_take_turns(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        found = await asyncio.gather(
            *[database.read(one(f"SELECT {number}")) for number in range(40)]
        )
        assert found == list(range(40))

    with_database(tmp_path, use)


def test_readers_cannot_write(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            await database.read(add("a"))

    with_database(tmp_path, use)


def test_a_commit_survives_power_loss_and_the_writer_alone_checkpoints(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        assert await database.write(one("PRAGMA journal_mode")) == "wal"
        full = 2
        assert await database.write(one("PRAGMA synchronous")) == full
        pages = await database.write(one("PRAGMA wal_autocheckpoint"))
        assert isinstance(pages, int) and 0 < pages <= 1000
        assert await database.read(one("PRAGMA wal_autocheckpoint")) == 0
        assert await database.read(one("PRAGMA query_only")) == 1

    with_database(tmp_path, use)


def test_folder_and_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"

    async def use(database: Database) -> None:
        await database.write(add("a"))
        modes = {path.name: path.stat().st_mode & 0o777 for path in [data, *data.iterdir()]}
        assert modes.pop("data") == 0o700
        assert set(modes) == {"marquee.db", "marquee.db-wal", "marquee.db-shm"}
        assert set(modes.values()) == {0o600}

    with_database(data, use)


def test_closing_leaves_one_file_and_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with_database(tmp_path, lambda database: database.write(add("a")))
    assert [path.name for path in tmp_path.iterdir()] == ["marquee.db"]
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
        assert not thread.is_alive()


def test_the_longest_hold_is_told_in_milliseconds(tmp_path: Path) -> None:
    pause = threading.Event()

    async def use(database: Database) -> None:
        await database.write(lambda _: pause.wait(0.05))
        await database.write(lambda _: None)
        assert 50 <= database.longest_hold < 600_000

    with_database(tmp_path, use)


def test_a_full_disk_fails_that_write_and_later_ones_work_again(tmp_path: Path) -> None:
    blob = "INSERT INTO image VALUES (1, 1, zeroblob(10000000), 'image/png')"

    async def use(database: Database) -> None:
        await database.write(one("PRAGMA max_page_count = 200"))
        with pytest.raises(StoreFull):
            await database.write(lambda connection: connection.execute(blob))
        assert database.failed is None
        await database.write(add("a"))
        await database.write(one("PRAGMA max_page_count = 1000000"))
        await database.write(lambda connection: connection.execute(blob).rowcount)

    with_database(tmp_path, use)
    assert query_rows(tmp_path, "SELECT name FROM counter") == [("a",)]


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_after_an_io_error_nothing_is_written_until_a_restart(tmp_path: Path) -> None:
    blob = "INSERT INTO image VALUES (1, 1, zeroblob(3000000), 'image/png')"

    async def use(database: Database) -> None:
        await database.write(add("before"))
        with files_up_to(1_000_000), pytest.raises(StoreFailed, match="SQLITE_IOERR"):
            await database.write(lambda connection: connection.execute(blob))
        # The disk is well again, but what SQLite holds in memory is not to be trusted.
        with pytest.raises(StoreFailed, match="is broken"):
            await database.write(add("after"))
        assert isinstance(database.failed, StoreFailed)
        assert await database.read(one("SELECT name FROM counter")) == "before"

    with_database(tmp_path, use)
    with_database(tmp_path, lambda database: database.write(add("restarted")))
    assert query_rows(tmp_path, "SELECT name FROM counter ORDER BY name") == [
        ("before",),
        ("restarted",),
    ]


def test_a_close_that_finds_no_room_to_checkpoint_loses_nothing(tmp_path: Path) -> None:
    async def use() -> None:
        database = await Database.open(tmp_path / "marquee.db")
        await database.write(add("a"))
        with files_up_to(1):
            await database.close()

    asyncio.run(use())
    assert (tmp_path / "marquee.db-wal").stat().st_size > 0
    assert with_database(tmp_path, lambda d: d.read(one("SELECT name FROM counter"))) == "a"


def test_a_program_that_keeps_the_database_is_told_of_and_harms_nothing(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        await database.write(one("PRAGMA busy_timeout = 20"))
        with closing(sqlite3.connect(tmp_path / "marquee.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreBusy, match="another program"):
                await database.write(add("a"))
        await database.write(add("b"))

    with_database(tmp_path, use)
    assert query_rows(tmp_path, "SELECT name FROM counter") == [("b",)]


def test_corruption_stops_writing_also_when_a_reader_finds_it(tmp_path: Path) -> None:
    def fill(connection: Connection) -> None:
        connection.executemany(ADD, [(f"{number:0100}", number) for number in range(5_000)])

    with_database(tmp_path, lambda database: database.write(fill))
    path = tmp_path / "marquee.db"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + b"\xff" * (len(whole) - len(whole) // 2))

    async def use(database: Database) -> None:
        with pytest.raises(StoreFailed, match="SQLITE_CORRUPT"):
            await database.read(one("SELECT sum(length(name)) FROM counter"))
        with pytest.raises(StoreFailed):
            await database.write(lambda _: None)

    with_database(tmp_path, use)


def test_a_file_that_is_no_database_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "marquee.db").write_bytes(b"no database " * 1_000)
    with pytest.raises(StoreError, match=r"marquee\.db cannot be opened"):
        with_database(tmp_path, lambda database: database.write(add("a")))


def test_a_program_whose_database_cannot_be_opened_ends(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path; "
        "from store.sqlite.core.database import Database; "
        "asyncio.run(Database.open(Path(sys.argv[1])))"
    )
    (tmp_path / "marquee.db").write_bytes(b"no database " * 1_000)
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "marquee.db"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot be opened" in done.stderr


def test_each_migration_is_recorded_once(tmp_path: Path) -> None:
    for _ in range(2):
        with_database(tmp_path, lambda database: database.write(lambda _: None))
    recorded = query_rows(tmp_path, "SELECT number, name FROM migration ORDER BY number")
    assert recorded[:2] == [(1, "001_campaigns"), (2, "002_apps")]


def test_all_tables_are_strict(tmp_path: Path) -> None:
    with_database(tmp_path, lambda database: database.write(lambda _: None))
    loose = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND NOT strict"
    assert [
        row for row in query_rows(tmp_path, loose) if not str(row[0]).startswith("sqlite_")
    ] == []


def test_a_database_of_a_newer_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    newer = "INSERT INTO migration VALUES (900, '900_later', 0)"
    with_database(tmp_path, lambda database: database.write(lambda c: c.execute(newer).rowcount))
    before = (tmp_path / "marquee.db").read_bytes()
    with pytest.raises(StoreTooNew, match=r"'900_later'.*update the program"):
        with_database(tmp_path, lambda database: database.write(lambda _: None))
    assert (tmp_path / "marquee.db").read_bytes() == before


def test_a_migration_that_fails_leaves_nothing_of_itself_and_all_before_it(tmp_path: Path) -> None:
    (tmp_path / "001_good.sql").write_text("CREATE TABLE good (a INTEGER) STRICT;")
    (tmp_path / "002_bad.sql").write_text("CREATE TABLE half (a INTEGER) STRICT; NONSENSE;")
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with pytest.raises(sqlite3.OperationalError, match="NONSENSE"):
        migrate(connection, tmp_path)
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
    assert names == {"migration", "good"}
    (tmp_path / "002_bad.sql").write_text("CREATE TABLE half (a INTEGER) STRICT;")
    migrate(connection, tmp_path)
    assert connection.execute("SELECT number FROM migration").fetchall() == [(1,), (2,)]
    connection.close()
