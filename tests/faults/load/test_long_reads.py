"""Long reads: the server aborts its own; those of other processes hold the WAL back."""

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

ENDLESS_SQL = (
    "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n) SELECT max(n) FROM n"
)
MEGABYTE = 1_000_000
FILL_SQL = "INSERT INTO event_reject (app, received, errors, body) VALUES (1, 1, '[]', zeroblob(?))"


def read_endlessly(connection: sqlite3.Connection) -> object:
    return connection.execute(ENDLESS_SQL).fetchone()


@contextlib.asynccontextmanager
async def open_database(folder: Path):
    data = await Database.open(folder / "marquee.db")
    try:
        yield data
    finally:
        await data.close()


async def grow_wal(data: Database, size: int) -> None:
    """Commit `size` bytes, by which the WAL grows if a reader holds it back."""
    for _ in range(size // MEGABYTE):
        await data.write(lambda it: it.execute(FILL_SQL, (MEGABYTE,)).rowcount)


async def wal_shrinks(data: Database, seconds: float) -> bool:
    """Return whether the WAL shrinks within `seconds` of maintenance."""
    end = time.monotonic() + seconds
    while data.wal_bytes > database.MAX_WAL_BYTES and time.monotonic() < end:
        await asyncio.sleep(0.1)
        await data.tend()
    return data.wal_bytes <= database.MAX_WAL_BYTES


def test_read_beyond_deadline_is_aborted_and_next_read_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "MAX_READ_SECONDS", 0.2)

    async def run() -> None:
        async with open_database(tmp_path) as data:
            reads = [data.read(read_endlessly) for _ in range(database.READER_CONNECTIONS)]
            for outcome in await asyncio.gather(*reads, return_exceptions=True):
                assert isinstance(outcome, StoreBusy)
            assert await data.read(lambda it: it.execute("SELECT 1").fetchone()) == (1,)

    asyncio.run(run())


def test_read_continues_without_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "MAX_READ_SECONDS", 3_600.0)

    async def run() -> None:
        async with open_database(tmp_path) as data:
            read = asyncio.ensure_future(data.read(read_endlessly))
            await asyncio.sleep(1)
            assert not read.done()
            for reader in data._readers:
                reader._conn.interrupt()
            await asyncio.gather(read, return_exceptions=True)

    asyncio.run(run())


def test_wal_held_back_by_other_process_is_logged_and_shrinks_afterwards(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with open_database(tmp_path) as data:
            with hold_read_transaction(data.path, 60):
                await grow_wal(data, database.MAX_WAL_BYTES + 5 * MEGABYTE)
                await data.tend()
                assert data.held_back
                assert "has been reading the database" in caplog.text
            assert await wal_shrinks(data, 120)
            assert not data.held_back

    asyncio.run(run())


@pytest.mark.parametrize("removed", ["tend", "_checkpoint"])
def test_wal_stays_large_without_maintenance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: str
) -> None:
    """The test above fails without maintenance, or with a checkpoint that does nothing."""

    async def do_nothing(_: Database) -> None:
        pass

    async def run() -> None:
        async with open_database(tmp_path) as data:
            with hold_read_transaction(data.path, 60):
                await grow_wal(data, database.MAX_WAL_BYTES + 5 * MEGABYTE)
            if removed == "tend":
                monkeypatch.setattr(Database, "tend", do_nothing)
            else:
                monkeypatch.setattr(database, "_checkpoint", lambda *_: False)
            assert not await wal_shrinks(data, 1)
            monkeypatch.undo()

    asyncio.run(run())


def request_events(folder: Path, changes: str, seconds: float) -> tuple[int, dict[str, str], bytes]:
    """Request events with a timeout; return status, headers and body."""
    data = folder / "data"
    new_load(data)
    token = run_json_command(data, "app", "token", "faults", "--scopes", "read")["secret_token"]
    server = KillableServer(data, changes=changes)
    connection = http.client.HTTPConnection(server.host, server.port, timeout=seconds)
    try:
        connection.request("GET", "/events", headers={"Authorization": f"Bearer {token}"})
        response = connection.getresponse()
        body = response.read()
        assert server.get_body("/healthz") and server.get_body("/readyz")
        return response.status, dict(response.headers), body
    finally:
        connection.close()
        server.kill()


def test_expensive_search_gets_503_after_two_seconds(tmp_path: Path) -> None:
    began = time.monotonic()
    status, headers, body = request_events(tmp_path, "search_endlessly", 120)
    assert time.monotonic() - began > database.MAX_READ_SECONDS
    assert (status, headers["Retry-After"]) == (503, "1")
    assert headers["Content-Type"] == "application/problem+json"
    assert "it took longer than 2 s to look this up" in json.loads(body)["detail"]


def test_expensive_search_waits_without_deadline(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        request_events(tmp_path, "search_endlessly,remove_read_deadline", 3)


def hold_back_wal(folder: Path, changes: str, seconds: float = 120) -> tuple[bool, bool]:
    """Hold the WAL back under load until it has grown and the server has logged that.

    Return whether `/readyz` reported it, and whether the WAL shrank within `seconds` after
    the reader had ended.
    """
    data, log = folder / "data", folder / "log"
    load = new_load(data)
    server = KillableServer(data, changes=changes, log=log)
    wal, max_bytes = data / "marquee.db-wal", 2_000_000  # the limit of limit_wal_to_2_mb
    observed: list[bool] = []

    def watch() -> None:
        with hold_read_transaction(data / "marquee.db", 60):
            wait_until(lambda: wal.stat().st_size > max_bytes)
            metrics = re.search(rb"marquee_wal_bytes ([\d.e+]+)", server.get_body("/metrics"))
            assert metrics is not None and float(metrics[1]) > max_bytes
            observed.append(b"-wal has" in server.get_body("/readyz"))
            if "checkpoint_only_on_writes" not in changes:
                wait_until(lambda: "has been reading the database" in log.read_text())
        end = time.monotonic() + seconds
        while wal.stat().st_size > max_bytes and time.monotonic() < end:
            time.sleep(0.05)
        observed.append(wal.stat().st_size <= max_bytes)
        server.process.kill()  # ends the load

    watcher = threading.Thread(target=watch)
    watcher.start()
    load.run(server, until=lambda: not watcher.is_alive())
    watcher.join()
    is_reported, has_shrunk = observed
    return is_reported, has_shrunk


def test_foreign_reader_under_load_is_reported_and_wal_shrinks_afterwards(
    tmp_path: Path,
) -> None:
    assert hold_back_wal(tmp_path, "limit_wal_to_2_mb") == (True, True)


@pytest.mark.long
def test_wal_stays_large_under_load_without_maintenance(tmp_path: Path) -> None:
    """The test above fails without maintenance."""
    _, has_shrunk = hold_back_wal(tmp_path, "limit_wal_to_2_mb,checkpoint_only_on_writes", 1.5)
    assert not has_shrunk


@pytest.mark.long
def test_server_under_load_survives_30_second_foreign_reader(tmp_path: Path) -> None:
    data = tmp_path / "data"
    load = new_load(data)
    server = KillableServer(data)
    wal = data / "marquee.db-wal"
    sizes: list[int] = []

    def watch() -> None:
        with hold_read_transaction(data / "marquee.db", 60):
            time.sleep(30)
            sizes.append(wal.stat().st_size)
        end = time.monotonic() + 60
        while wal.stat().st_size > database.MAX_WAL_BYTES and time.monotonic() < end:
            time.sleep(0.05)
        sizes.append(wal.stat().st_size)

    watcher = threading.Thread(target=watch)
    watcher.start()
    load.run(server, until=lambda: not watcher.is_alive())
    watcher.join()
    assert sizes[0] > sizes[1] and sizes[1] <= database.MAX_WAL_BYTES
    assert len(load.transcript.acknowledged) > 10_000
    connection = sqlite3.connect(data / "marquee.db")
    stored_ids = dict(connection.execute("SELECT session, id FROM event"))
    connection.close()
    assert all(stored_ids[key] == number for key, number in load.transcript.acknowledged.items())
