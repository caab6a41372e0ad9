"""Who reads for long: ours are ended, and another program's hold the WAL back until they leave."""

import asyncio
import contextlib
import http.client
import json
import re
import sqlite3
import threading
import time
from pathlib import Path

import pytest

from store.api.errors import StoreBusy
from store.sqlite.core import database
from store.sqlite.core.database import Database
from tests.support.faults.foreign_reader import hold_read_transaction
from tests.support.faults.server_load import KillableServer, new_load, run_json_command, wait_until

ENDLESS = "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT max(n) FROM n"
MEGABYTE = 1_000_000
FILL = "INSERT INTO event_reject (app, received, errors, body) VALUES (1, 1, '[]', zeroblob(?))"


def endless(connection: sqlite3.Connection) -> object:
    return connection.execute(ENDLESS).fetchone()


@contextlib.asynccontextmanager
async def opened(folder: Path):
    data = await Database.open(folder / "marquee.db")
    try:
        yield data
    finally:
        await data.close()


async def grow(data: Database, size: int) -> None:
    """Commit so much that the WAL grows by it, if it is held back."""
    for _ in range(size // MEGABYTE):
        await data.write(lambda it: it.execute(FILL, (MEGABYTE,)).rowcount)


async def shrunk(data: Database, seconds: float) -> bool:
    """Whether the WAL is small again within so many seconds, tended as the server does."""
    end = time.monotonic() + seconds
    while data.wal_bytes > database.MAX_WAL_BYTES and time.monotonic() < end:
        await asyncio.sleep(0.1)
        await data.tend()
    return data.wal_bytes <= database.MAX_WAL_BYTES


def test_a_look_up_that_takes_too_long_is_ended_and_the_next_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MAX_READ_SECONDS", 0.2)

    async def run() -> None:
        async with opened(tmp_path) as data:
            looks = [data.read(endless) for _ in range(database.READER_CONNECTIONS)]
            for found in await asyncio.gather(*looks, return_exceptions=True):
                assert isinstance(found, StoreBusy)
            assert await data.read(lambda it: it.execute("SELECT 1").fetchone()) == (1,)

    asyncio.run(run())


def test_without_that_end_the_same_look_up_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MAX_READ_SECONDS", 3_600.0)

    async def run() -> None:
        async with opened(tmp_path) as data:
            look = asyncio.ensure_future(data.read(endless))
            await asyncio.sleep(1)
            assert not look.done()
            for reader in data._readers:
                reader._conn.interrupt()
            await asyncio.gather(look, return_exceptions=True)

    asyncio.run(run())


def test_a_wal_that_another_program_holds_back_is_told_of_and_shrinks_when_that_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with opened(tmp_path) as data:
            with hold_read_transaction(data.path, 60):
                await grow(data, database.MAX_WAL_BYTES + 5 * MEGABYTE)
                await data.tend()
                assert data.held_back
                assert "has been reading the database" in caplog.text
            assert await shrunk(data, 120)
            assert not data.held_back

    asyncio.run(run())


@pytest.mark.parametrize("guard", ["tend", "_checkpoint"])
def test_without_its_guards_the_wal_stays_as_it_has_grown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guard: str
) -> None:
    """The test above can fail: nobody who tends, or a checkpoint that empties nothing."""

    async def idle(_: Database) -> None:
        pass

    async def run() -> None:
        async with opened(tmp_path) as data:
            with hold_read_transaction(data.path, 60):
                await grow(data, database.MAX_WAL_BYTES + 5 * MEGABYTE)
            if guard == "tend":
                monkeypatch.setattr(Database, "tend", idle)
            else:
                monkeypatch.setattr(database, "_checkpoint", lambda *_: False)
            assert not await shrunk(data, 1)
            monkeypatch.undo()

    asyncio.run(run())


def asked(folder: Path, changes: str, seconds: float) -> tuple[int, dict[str, str], bytes]:
    """What a question for events is answered, within so many seconds."""
    data = folder / "data"
    new_load(data)
    token = run_json_command(data, "app", "token", "faults", "--scopes", "read")["secret_token"]
    server = KillableServer(data, changes=changes)
    connection = http.client.HTTPConnection(server.host, server.port, timeout=seconds)
    try:
        connection.request("GET", "/events", headers={"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        body = answer.read()
        assert server.get_body("/healthz") and server.get_body("/readyz")
        return answer.status, dict(answer.headers), body
    finally:
        connection.close()
        server.kill()


def test_who_asks_for_too_much_is_told_so_after_two_seconds(tmp_path: Path) -> None:
    began = time.monotonic()
    status, headers, body = asked(tmp_path, "search_endlessly", 120)
    assert time.monotonic() - began > database.MAX_READ_SECONDS
    assert (status, headers["Retry-After"]) == (503, "1")
    assert headers["Content-Type"] == "application/problem+json"
    assert "it took longer than 2 s to look this up" in json.loads(body)["detail"]


def test_who_asks_for_too_much_would_else_wait(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        asked(tmp_path, "search_endlessly,remove_read_deadline", 3)


def held_back(folder: Path, changes: str, seconds: float = 120) -> tuple[bool, bool]:
    """Under load, another program reads until the WAL has grown and the server has logged that:
    whether the server told of it on `/readyz`, and whether the WAL was small again within so many
    seconds after that.
    """
    data, log = folder / "data", folder / "log"
    load = new_load(data)
    server = KillableServer(data, changes=changes, log=log)
    wal, most = data / "marquee.db-wal", 2_000_000  # as limit_wal_to_2_mb has it
    seen: list[bool] = []

    def watch() -> None:
        with hold_read_transaction(data / "marquee.db", 60):
            wait_until(lambda: wal.stat().st_size > most)
            metrics = re.search(rb"marquee_wal_bytes ([\d.e+]+)", server.get_body("/metrics"))
            assert metrics is not None and float(metrics[1]) > most
            seen.append(b"-wal has" in server.get_body("/readyz"))
            if "checkpoint_only_on_writes" not in changes:
                wait_until(lambda: "has been reading the database" in log.read_text())
        end = time.monotonic() + seconds
        while wal.stat().st_size > most and time.monotonic() < end:
            time.sleep(0.05)
        seen.append(wal.stat().st_size <= most)
        server.process.kill()  # which ends the load

    watcher = threading.Thread(target=watch)
    watcher.start()
    load.run(server, until=lambda: not watcher.is_alive())
    watcher.join()
    told, small = seen
    return told, small


def test_another_program_that_reads_is_told_of_under_load_and_the_wal_shrinks_after_it(
    tmp_path: Path,
) -> None:
    assert held_back(tmp_path, "limit_wal_to_2_mb") == (True, True)


@pytest.mark.long
def test_under_load_nobody_else_sees_to_the_wal(tmp_path: Path) -> None:
    """The test above can fail."""
    _, small = held_back(tmp_path, "limit_wal_to_2_mb,checkpoint_only_on_writes", 1.5)
    assert not small


@pytest.mark.long
def test_a_server_under_load_bears_a_reader_of_half_a_minute(tmp_path: Path) -> None:
    data = tmp_path / "data"
    load = new_load(data)
    server = KillableServer(data)
    wal = data / "marquee.db-wal"
    grown: list[int] = []

    def watch() -> None:
        with hold_read_transaction(data / "marquee.db", 60):
            time.sleep(30)
            grown.append(wal.stat().st_size)
        end = time.monotonic() + 60
        while wal.stat().st_size > database.MAX_WAL_BYTES and time.monotonic() < end:
            time.sleep(0.05)
        grown.append(wal.stat().st_size)

    watcher = threading.Thread(target=watch)
    watcher.start()
    load.run(server, until=lambda: not watcher.is_alive())
    watcher.join()
    assert grown[0] > grown[1] and grown[1] <= database.MAX_WAL_BYTES
    assert len(load.transcript.acknowledged) > 10_000
    connection = sqlite3.connect(data / "marquee.db")
    kept = dict(connection.execute("SELECT session, id FROM event"))
    connection.close()
    assert all(kept[key] == number for key, number in load.transcript.acknowledged.items())
