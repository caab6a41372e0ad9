"""Commands and imports through a running server's Unix socket, on both HTTP servers."""

import asyncio
import http.client
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket
from tornado.web import Application

from commands import control_client
from commands.admin_backend import LocalAdminBackend, RemoteAdminBackend, open_admin_backend
from commands.control_client import RemoteImportSession, UnixHTTPConnection
from handlers.operations.control_socket import ControlService
from httpserver import Server, bind_unix
from imports.importer import import_folder
from store.api.errors import (
    StoreBusy,
    StoreDisconnected,
    StoreError,
    StoreFailed,
    StoreFull,
    StoreRefused,
)
from store.api.import_session import RowRejection, StagedFile
from store.sqlite.admin.apps import CreateApp, ListApps, NewApp
from store.sqlite.admin.tokens import RevokeToken
from store.sqlite.banners.campaign_stats import load_campaign_stats
from store.sqlite.control_protocol import COMMAND_TYPES
from store.sqlite.core.command import AdminCommand
from store.sqlite.core.database import Database
from store.sqlite.core.folder_lock import FolderLock
from store.sqlite.imports.import_staging import ImportStaging
from tests.support import PROGRAMS, ROOT
from tests.support.banners.campaign_files import (
    PNG,
    SMALL_CAMPAIGN,
    data_content,
    import_in_process,
    row_counts,
    write_files,
)

IMPORTER = PROGRAMS / "import_client.py"


class Running:
    """A server as far as commands know it."""

    def __init__(self, data: Path, database: Database, patience: float) -> None:
        self.data = data
        self.database = database
        self.versions: list[int] = []
        self.staging = ImportStaging(database, data / "images")
        unused: Any = None
        self.control = ControlService(
            database, self.staging, self.published, unused, unused, unused, patience
        )

    async def published(self) -> None:
        await asyncio.sleep(0.01)
        self.versions.append((await load_campaign_stats(self.database)).version)

    async def ended(self) -> None:
        """Wait until no import is under way, or being cleared away."""
        async with asyncio.timeout(120):
            while self.staging.active_number is not None or (
                await self.database.read(
                    lambda c: c.execute(
                        "SELECT 1 FROM import WHERE published_at IS NULL"
                    ).fetchone()
                )
            ):
                await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(data: Path, kind: str, patience: float = 60.0) -> AsyncIterator[Running]:
    path = data / "marquee.sock"
    with FolderLock(data):
        database = await Database.open(data / "marquee.db")
        running = Running(data, database, patience)
        application = Application(running.control.routes(), log_function=lambda _: None)
        if kind == "wire":
            ours = Server(application)
            await ours.listen([bind_unix(path)])
        else:
            theirs = HTTPServer(application)
            theirs.add_socket(bind_unix_socket(str(path), 0o600))
        try:
            yield running
        finally:
            await running.control.close()
            if kind == "wire":
                await ours.drain(5)
            else:
                theirs.stop()
                await theirs.close_all_connections()
            await database.close()
            path.unlink(missing_ok=True)


@pytest.fixture(params=["wire", "tornado"])
def drive(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[Callable[[Running], Awaitable[None]]], None]:
    def run(test: Callable[[Running], Awaitable[None]], patience: float = 60.0) -> None:
        async def all_of_it() -> None:
            async with serving(tmp_path / "data", request.param, patience) as running:
                await test(running)

        asyncio.run(all_of_it())

    return run


Drive = Callable[..., None]
SPOILT = {
    **SMALL_CAMPAIGN,
    "1/conversions_1.csv": "conversion_id,click_id,revenue\n1,100,1\n2,77,1\n1,100,1\nü,1,1\n",
    "images/image_3.png": b"none",
}


def test_an_import_through_the_socket_gives_what_one_of_our_own_gives(
    tmp_path: Path, drive: Drive
) -> None:
    sets = [
        write_files(tmp_path / "one", SMALL_CAMPAIGN),
        write_files(tmp_path / "two", SPOILT),
        tmp_path / "one",
    ]
    own = [import_in_process(tmp_path / "own", folder) for folder in sets]

    async def test(running: Running) -> None:
        for folder, expected in zip(sets, own, strict=True):
            async with open_admin_backend(running.data) as backend:
                assert isinstance(backend, RemoteAdminBackend)
                result = await import_folder(folder, backend.import_session())
            assert (result.number, row_counts(result), result.ok) == (
                expected.number,
                row_counts(expected),
                expected.ok,
            )
            assert [row_counts(it) for it in result.files] == [
                row_counts(it) for it in expected.files
            ]
        # Each was shown before its importer heard that it is in force.
        assert running.versions == [1, 2]

    drive(test)
    assert data_content(tmp_path / "data") == data_content(tmp_path / "own")


def test_every_call_of_an_intake_travels(tmp_path: Path, drive: Drive) -> None:
    async def test(running: Running) -> None:
        intake = RemoteImportSession(running.data / "marquee.sock")
        most = 2**63 - 1
        assert await intake.begin("here, ü") == 1
        assert await intake.add_clicks(1, [(1, 2, 3), (most, 2, 3), (1, 5, 5)]) == [2]
        landings = await intake.add_conversions(2, [(1, 1, most), (2, 9, 0), (1, most, 5)])
        assert landings == [(3, 2), "unknown", "duplicate"]
        await intake.add_stats([(1, 3, 2, 0, 2, 0, 0), (2, 3, 2, 0, 0, 1, most)])
        urls = [(2, "https://a.example/ü"), (2, "https://a.example/ü"), (2, "https://b.example/")]
        assert await intake.add_targets(urls) == ["stored", "duplicate", "conflict"]
        assert await intake.add_image(2, PNG) == "stored"
        assert await intake.add_image(2, PNG + b"\0") == "conflict"
        large = PNG + bytes(10 * 1024 * 1024 - len(PNG))
        assert await intake.add_image(3, large) == "stored"
        with pytest.raises(StoreRefused, match="image of banner 4 is unsupported"):
            await intake.add_image(4, large + b"\0")
        await intake.add_rejections([RowRejection("a", 2, "ü", '"\x1b"')] * 500)
        await intake.add_file(StagedFile("a", b"\0\xff", 5, 4, 1, 0))
        await intake.publish()
        again = RemoteImportSession(running.data / "marquee.sock")
        assert await again.begin("here") == 2
        assert await again.find_imported([(b"\0\xff", "a"), (b"\0", "a"), (b"\0\xff", "b")]) == [
            5,
            None,
            None,
        ]
        assert await again.add_targets(urls[:1]) == ["duplicate"]
        await again.abort()
        await again.abort()
        found = await load_campaign_stats(running.database)
        assert found.imported[2][3][2].revenue == most
        assert found.version == 1

    drive(test)


def test_an_importer_that_dies_is_cleared_away_and_the_next_one_succeeds(
    tmp_path: Path, drive: Drive
) -> None:
    clicks = "click_id,banner_id,campaign_id\n" + "".join(f"{n},1,1\n" for n in range(60_000))
    folder = write_files(tmp_path / "set", {"1/clicks_1.csv": clicks})

    async def test(running: Running) -> None:
        for pause in (0.0, 0.05, 0.15):
            importer = await asyncio.create_subprocess_exec(
                sys.executable,
                IMPORTER,
                running.data,
                folder,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )
            assert importer.stdout is not None
            assert await importer.stdout.readline() == b"reading\n"
            await asyncio.sleep(pause)
            importer.send_signal(signal.SIGKILL)
            await importer.communicate()
            await running.ended()
            if kept := (await load_campaign_stats(running.database)).imported:
                assert kept[1][1][1].clicks == 60_000
                return  # it was through already
        result = await import_folder(folder, RemoteImportSession(running.data / "marquee.sock"))
        assert row_counts(result) == (60_000, 60_000, 0, 0)

    drive(test)


def test_a_silent_importer_is_cleared_away(tmp_path: Path, drive: Drive) -> None:
    async def test(running: Running) -> None:
        intake = RemoteImportSession(running.data / "marquee.sock")
        await intake.begin("here")
        for _ in range(4):
            await asyncio.sleep(0.15)
            await intake.add_clicks(1, [(1, 2, 3)])
        await running.ended()
        with pytest.raises(StoreRefused, match="this import has ended; its rows were removed"):
            await intake.add_clicks(1, [(2, 2, 3)])
        await intake.abort()

    drive(test, patience=0.4)
    assert not any(data_content(tmp_path / "data").values())


def test_a_second_importer_is_told_that_one_is_under_way(tmp_path: Path, drive: Drive) -> None:
    async def test(running: Running) -> None:
        first = RemoteImportSession(running.data / "marquee.sock")
        await first.begin("/first")
        second = RemoteImportSession(running.data / "marquee.sock")
        with pytest.raises(StoreBusy, match="an import from /first is active; try again later"):
            await second.begin("/second")
        await second.abort()
        # The first one's is not touched by that.
        assert await first.add_clicks(1, [(1, 2, 3)]) == []
        await first.abort()
        assert await second.begin("/second") == 2
        await second.abort()

    drive(test)


def test_the_next_import_may_begin_while_the_last_one_is_being_shown(
    tmp_path: Path, drive: Drive
) -> None:
    async def test(running: Running) -> None:
        shown = asyncio.Event()

        async def slow() -> None:
            await shown.wait()

        running.control._on_published = slow
        first = RemoteImportSession(running.data / "marquee.sock")
        await first.begin("/first")
        publishing = asyncio.create_task(first.publish())
        await running.ended()
        second = RemoteImportSession(running.data / "marquee.sock")
        await second.begin("/second")
        shown.set()
        await publishing
        assert await second.add_clicks(1, [(1, 2, 3)]) == []
        # It still lives by its own connection.
        second._close()
        await running.ended()
        assert not await running.database.read(
            lambda c: c.execute("SELECT 1 FROM click").fetchone()
        )

    drive(test)


def test_a_server_that_ends_aborts_the_import_and_takes_no_other(
    tmp_path: Path, drive: Drive
) -> None:
    async def test(running: Running) -> None:
        intake = RemoteImportSession(running.data / "marquee.sock")
        await intake.begin("here")
        await intake.add_clicks(1, [(1, 2, 3)])
        await running.control.close()
        with pytest.raises(StoreRefused, match="has ended"):
            await intake.add_clicks(1, [(2, 2, 3)])
        with pytest.raises(StoreBusy, match="the server is stopping"):
            await RemoteImportSession(running.data / "marquee.sock").begin("here")
        await intake.abort()

    drive(test)
    assert not any(data_content(tmp_path / "data").values())


def test_a_server_that_is_gone_is_told_as_such(tmp_path: Path, drive: Drive) -> None:
    intakes: list[RemoteImportSession] = []

    async def test(running: Running) -> None:
        intakes.append(RemoteImportSession(running.data / "marquee.sock"))
        await intakes[0].begin("here")

    drive(test)

    async def after() -> None:
        with pytest.raises(StoreDisconnected, match="the server stopped, and nothing was changed"):
            await intakes[0].add_clicks(1, [(1, 2, 3)])
        with pytest.raises(StoreDisconnected, match="run the import again"):
            await intakes[0].publish()
        await intakes[0].abort()

    asyncio.run(after())


def test_a_ranking_that_could_not_be_shown_is_told_though_the_import_is_in_force(
    tmp_path: Path, drive: Drive, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> None:
        raise LookupError("no ranking")

    async def test(running: Running) -> None:
        running.control._on_published = broken
        with pytest.raises(
            StoreError, match="is published, but the pages could not be updated: no ranking"
        ):
            await import_folder(
                write_files(tmp_path / "set", SMALL_CAMPAIGN),
                RemoteImportSession(running.data / "marquee.sock"),
            )
        assert (await load_campaign_stats(running.database)).version == 1

    drive(test)


@pytest.mark.parametrize("error", [StoreBusy, StoreFull, StoreFailed, StoreRefused, StoreError])
def test_errors_arrive_as_what_they_are(
    tmp_path: Path, drive: Drive, error: type[StoreError], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(self: ListApps, database: Database) -> None:
        raise error("the words, ü")

    async def test(running: Running) -> None:
        monkeypatch.setattr(ListApps, "run", fails)
        with pytest.raises(StoreError, match=r"^the words, ü$") as raised:
            await control_client.run_command(running.data / "marquee.sock", ListApps())
        assert type(raised.value) is error

    drive(test)


def test_commands_work_the_same_with_and_without_a_server(tmp_path: Path, drive: Drive) -> None:
    async def test(running: Running) -> None:
        async with open_admin_backend(running.data) as backend:
            app = await backend.run_command(CreateApp("shop", "token_1", ("a.example",), True))
            assert isinstance(app, NewApp)
            listed = await backend.run_command(ListApps())
            with pytest.raises(StoreRefused, match="has the name 'shop' already"):
                await backend.run_command(CreateApp("shop"))
            assert (await backend.run_command(RevokeToken(app.secret_token))).revoked_at
        assert listed == await _revived(running.database, listed[0].tokens[0].id)

    async def _revived(database: Database, token: int) -> Any:
        sql = "UPDATE token SET revoked_at = NULL WHERE id = ?"
        await database.write(lambda c: c.execute(sql, (token,)).rowcount)
        return await ListApps().run(database)

    drive(test)

    async def alone() -> None:
        async with open_admin_backend(tmp_path / "data") as backend:
            assert isinstance(backend, LocalAdminBackend)
            assert [app.name for app in await backend.run_command(ListApps())] == ["shop"]

    asyncio.run(alone())


def test_a_server_knows_every_command_that_there_is() -> None:
    assert set(COMMAND_TYPES.values()) == set(AdminCommand.__subclasses__())


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/ask/Nothing", b"{}", 404),
        ("/ask/run", b"{}", 404),
        ("/ask/CreateApp", b"{", 400),
        ("/ask/CreateApp", b'{"name": 1}', 400),
        ("/ask/CreateApp", b'{"name": "a", "more": 1}', 400),
        ("/import", b"\x91\x01", 400),
        ("/import", b"nonsense", 400),
        ("/import/1/AddClicks", b"\x92\x01\x91\x93\x01\x02\xc0", 400),
        ("/import/1/AddClicks", msgspec.msgpack.encode((1, [(1, 2, 3)])), 422),
        ("/import/1/BeginImport", b"\x90", 404),
        ("/import/1/active_number", b"\x90", 404),
        ("/import/1/__init__", b"\x90", 404),
    ],
)
def test_what_is_no_request_of_ours_is_answered_with_a_problem(
    drive: Drive, path: str, body: bytes, status: int
) -> None:
    def exchange(data: Path) -> tuple[int, str | None, Any]:
        line = UnixHTTPConnection(data / "marquee.sock")
        try:
            line.request("POST", path, body)
            response = line.getresponse()
            return (
                response.status,
                response.getheader("Content-Type"),
                msgspec.json.decode(response.read()),
            )
        finally:
            line.close()

    async def test(running: Running) -> None:
        got, kind, problem = await asyncio.to_thread(exchange, running.data)
        assert (got, kind) == (status, "application/problem+json")
        assert problem["status"] == status and problem["detail"]

    drive(test)


def test_the_socket_of_a_folder_with_a_long_name_is_reached(tmp_path: Path) -> None:
    long = tmp_path / ("d" * 120) / "data"

    async def test() -> None:
        long.mkdir(parents=True)
        here = Path.cwd()
        os.chdir(long)  # to bind it, a short name is needed
        try:
            bound = bind_unix_socket("marquee.sock", 0o600)
        finally:
            os.chdir(here)
        database = await Database.open(long / "marquee.db")
        running = Running(long, database, 60)
        server = HTTPServer(Application(running.control.routes(), log_function=lambda _: None))
        server.add_socket(bound)
        assert control_client.is_server_running(long / "marquee.sock")
        assert await control_client.run_command(long / "marquee.sock", ListApps()) == []
        server.stop()
        await server.close_all_connections()
        await database.close()

    asyncio.run(test())


def test_a_folder_held_by_a_process_that_takes_no_commands_is_busy(tmp_path: Path) -> None:
    async def test() -> None:
        with pytest.raises(StoreBusy, match=f"in use by process {os.getpid()}"):
            async with open_admin_backend(tmp_path, lock_timeout=0.2):
                raise AssertionError

    with FolderLock(tmp_path):
        asyncio.run(test())


def test_a_server_that_is_about_to_listen_is_waited_for(tmp_path: Path) -> None:
    async def test() -> None:
        lock = FolderLock(tmp_path)
        asyncio.get_running_loop().call_later(0.3, lock.release)
        async with open_admin_backend(tmp_path, create=True, lock_timeout=10) as backend:
            assert isinstance(backend, LocalAdminBackend)

    asyncio.run(test())


def test_an_import_that_is_cut_off_amid_its_first_words_leaves_nobody_waiting(drive: Drive) -> None:
    async def test(running: Running) -> None:
        before = len(asyncio.all_tasks())
        for _ in range(3):
            path = str(running.data / "marquee.sock")
            _, writer = await asyncio.open_unix_connection(path)
            writer.write(b"POST /import HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.close()
        async with asyncio.timeout(120):
            while len(asyncio.all_tasks()) > before:
                await asyncio.sleep(0.05)

    drive(test)


@pytest.mark.parametrize("left", ["", "lock", "marquee.sock"])
def test_a_folder_without_an_installation_is_told_and_not_made(tmp_path: Path, left: str) -> None:
    folder = tmp_path / "mistyped"
    if left:
        folder.mkdir()
        (folder / left).touch()

    async def test() -> None:
        with pytest.raises(StoreError, match=r"there is no installation in .*mistyped: name yours"):
            async with open_admin_backend(folder):
                raise AssertionError

    asyncio.run(test())
    assert not (folder / "marquee.db").exists()
    assert folder.exists() == bool(left)


def test_a_folder_that_cannot_be_looked_at_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        with pytest.raises(StoreError, match="cannot be used: File name too long"):
            async with open_admin_backend(tmp_path / ("x" * 300)):
                raise AssertionError

    asyncio.run(test())


def test_a_socket_that_a_killed_server_left_behind_is_no_server(tmp_path: Path) -> None:
    bind_unix_socket(str(tmp_path / "marquee.sock"), 0o600).close()
    assert not control_client.is_server_running(tmp_path / "marquee.sock")

    async def test() -> None:
        async with open_admin_backend(tmp_path, create=True) as backend:
            assert isinstance(backend, LocalAdminBackend)

    asyncio.run(test())


def test_an_answer_that_is_no_problem_is_told_by_its_status() -> None:
    class Answer(http.client.HTTPResponse):
        def __init__(self) -> None:
            self.status, self.reason = 502, "Bad Gateway"

    assert (
        control_client._error_detail(b"<html>", Answer()) == "the server responded 502 Bad Gateway"
    )
