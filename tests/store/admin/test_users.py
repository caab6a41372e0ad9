"""Users, their login sessions, and the audit log."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from unicodedata import normalize

import pytest

from store.api.errors import StoreBusy, StoreRefused
from store.sqlite.admin.apps import CreateApp
from store.sqlite.admin.login_sessions import (
    ADDRESS_TTL_SECONDS,
    INITIAL_PASSWORD_SECONDS,
    MAX_IDLE_SECONDS,
    MAX_KNOWN_ADDRESSES,
    MAX_QUEUED_LOGINS,
    MAX_SESSION_SECONDS,
    USE_INTERVAL_SECONDS,
    LoggedInUser,
    LoginSessions,
)
from store.sqlite.admin.password_hashing import (
    PASSWORD_HASHER,
    generate_password,
    hash_password,
    verify_password,
)
from store.sqlite.admin.tokens import CreateToken, RevokeToken
from store.sqlite.admin.users import CreateUser, ListUsers, RemoveUser, SetPassword
from store.sqlite.core.audit_log import MAX_AUDIT_ENTRIES, list_audit_entries, write_audit_entry
from store.sqlite.core.database import Database

DIGEST = hash_password("correct horse")
HERE = b"hash"


class Clock:
    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def drive(tmp_path: Path) -> Callable[[Callable[[Database], Awaitable[None]]], None]:
    def run(test: Callable[[Database], Awaitable[None]]) -> None:
        async def main() -> None:
            database = await Database.open(tmp_path / "marquee.db")
            try:
                await test(database)
            finally:
                await database.close()

        asyncio.run(main())

    return run


def test_password_is_verified_against_its_digest() -> None:
    assert verify_password(DIGEST, "correct horse")
    assert not verify_password(DIGEST, "correct horse ")
    assert not verify_password(None, "correct horse")
    assert not verify_password("no digest at all", "correct horse")
    assert DIGEST.startswith("$argon2id$") and "correct" not in DIGEST
    assert hash_password("correct horse") != DIGEST
    assert len({generate_password() for _ in range(100)}) == 100


def test_password_matches_in_every_unicode_form() -> None:
    word = "Größere Kännchen 44 Öl"
    composed, decomposed = normalize("NFC", word), normalize("NFD", word)
    assert composed != decomposed
    for digest in (
        hash_password(composed),
        hash_password(decomposed),
        PASSWORD_HASHER.hash(decomposed),
    ):
        assert verify_password(digest, decomposed)
    assert verify_password(hash_password(decomposed), composed.replace(" ", "\u00a0"))
    assert not verify_password(hash_password(composed), composed.upper())
    assert not verify_password(None, decomposed)


def test_user_name_matches_in_any_case_and_unicode_form(
    drive: Callable[[Callable[[Database], Awaitable[None]]], None],
) -> None:
    async def test(database: Database) -> None:
        created = await CreateUser(normalize("NFD", "Jürgen"), DIGEST).run(database)
        assert created.name == "Jürgen"
        for spelling in ("jürgen", "JÜRGEN", normalize("NFD", "JÜRGEN")):
            with pytest.raises(StoreRefused, match="already"):
                await CreateUser(spelling, DIGEST).run(database)
            owner = await LoginSessions(database).authenticate(spelling, "correct horse")
            assert owner is not None
            assert owner.name == "Jürgen"
        await SetPassword("JÜRGEN", DIGEST).run(database)
        await RemoveUser(normalize("NFD", "jürgen"), by="x").run(database)
        assert await ListUsers().run(database) == []

    drive(test)


def test_logins_of_unknown_clients_do_not_delay_known_clients(
    drive: Callable[[Callable[[Database], Awaitable[None]]], None],
) -> None:
    async def test(database: Database) -> None:
        await CreateUser("maria", DIGEST).run(database)
        logins = LoginSessions(database)
        unknown = [
            asyncio.create_task(logins.authenticate(f"{n}", "x"))
            for n in range(MAX_QUEUED_LOGINS + 5)
        ]
        await asyncio.sleep(0)
        assert await logins.authenticate("maria", "correct horse", known_client=True) is not None
        assert sum(not each.done() for each in unknown) >= MAX_QUEUED_LOGINS // 2
        results = await asyncio.gather(*unknown, return_exceptions=True)
        assert sum(isinstance(each, StoreBusy) for each in results) == 5

    drive(test)


def test_digest_of_unknown_users_has_the_same_cost_parameters() -> None:
    """Equal parameters take equal time, so that the response time reveals nothing."""
    from store.sqlite.admin.password_hashing import DUMMY_DIGEST

    assert DUMMY_DIGEST.split("$")[:4] == DIGEST.split("$")[:4]
    assert len(DUMMY_DIGEST) == len(DIGEST)


def test_user_is_created_listed_and_removed(drive) -> None:
    async def test(database: Database) -> None:
        created = await CreateUser("Maria", DIGEST).run(database)
        with pytest.raises(StoreRefused, match="already"):
            await CreateUser("maria", DIGEST).run(database)
        with pytest.raises(StoreRefused, match="exists already"):
            await CreateUser("otto", DIGEST, first=True).run(database)
        assert [(it.id, it.name, it.seen_at) for it in await ListUsers().run(database)] == [
            (created.id, "Maria", None)
        ]
        await RemoveUser("MARIA").run(database)
        assert await ListUsers().run(database) == []
        with pytest.raises(StoreRefused, match="no user"):
            await RemoveUser("maria").run(database)
        assert (await CreateUser("otto", DIGEST, first=True).run(database)).id > created.id

    drive(test)


@pytest.mark.parametrize("name", ["", "a b", "x" * 101, "a\nb", "<b>"])
def test_invalid_user_name_is_refused(drive, name: str) -> None:
    async def test(database: Database) -> None:
        with pytest.raises(StoreRefused, match="letters"):
            await CreateUser(name, DIGEST).run(database)

    drive(test)


def test_newest_addresses_of_each_user_are_remembered(drive) -> None:
    async def test(database: Database) -> None:
        clock = Clock()
        logins = LoginSessions(database, clock)
        owners = []
        for name in ("maria", "otto"):
            user = await CreateUser(name, DIGEST).run(database)
            owners.append(LoggedInUser(user.id, name, False))
        await logins.create_session(owners[1], HERE)
        for number in range(MAX_KNOWN_ADDRESSES + 5):
            clock.now += 1
            await logins.create_session(owners[0], b"%d" % number)
        remembered = await logins.known_addresses()
        newest = [("maria", b"%d" % number) for number in range(5, MAX_KNOWN_ADDRESSES + 5)]
        assert sorted(remembered) == sorted([*newest, ("otto", HERE)])
        clock.now += ADDRESS_TTL_SECONDS
        await logins.create_session(owners[0], b"new")
        assert await logins.known_addresses() == [("maria", b"new")]
        await RemoveUser("maria").run(database)
        assert await logins.known_addresses() == []

    drive(test)


def test_session_is_valid_until_logout(drive) -> None:
    async def test(database: Database) -> None:
        await CreateUser("maria", DIGEST).run(database)
        logins = LoginSessions(database)
        assert await logins.authenticate("maria", "wrong") is None
        assert await logins.authenticate("nobody", "correct horse") is None
        owner = await logins.authenticate("MARIA", "correct horse")
        assert owner is not None and owner.name == "maria"
        one, other = (
            await logins.create_session(owner, HERE),
            await logins.create_session(owner, HERE),
        )
        assert await logins.find_user(one) == owner == await logins.find_user(other)
        await logins.end_session(one)
        assert await logins.find_user(one) is None
        assert await logins.find_user(other) == owner
        (user,) = await ListUsers().run(database)
        assert user.seen_at is not None

    drive(test)


def test_session_cookie_is_not_stored(drive, tmp_path: Path) -> None:
    async def test(database: Database) -> None:
        await CreateUser("maria", DIGEST).run(database)
        logins = LoginSessions(database)
        owner = await logins.authenticate("maria", "correct horse")
        assert owner is not None
        token = await logins.create_session(owner, HERE)
        await database.scrub()
        held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert token.encode() not in held and b"correct horse" not in held

    drive(test)


def test_session_expires_a_week_after_last_use_and_a_month_after_login(drive) -> None:
    async def test(database: Database) -> None:
        await CreateUser("maria", DIGEST).run(database)
        clock = Clock()
        logins = LoginSessions(database, clock)
        owner = await logins.authenticate("maria", "correct horse")
        assert owner is not None
        token, unused = (
            await logins.create_session(owner, HERE),
            await logins.create_session(owner, HERE),
        )
        began = clock.now
        while clock.now < began + MAX_SESSION_SECONDS - USE_INTERVAL_SECONDS:
            assert await logins.find_user(token) == owner
            clock.now += MAX_IDLE_SECONDS - USE_INTERVAL_SECONDS
        clock.now = began + MAX_IDLE_SECONDS
        assert await logins.find_user(unused) is None
        clock.now = began + MAX_SESSION_SECONDS
        assert await logins.find_user(token) is None
        await logins.create_session(owner, HERE)
        kept = await database.read(lambda it: it.execute("SELECT count(*) FROM login").fetchone())
        assert kept == (1,)

    drive(test)


def test_generated_password_is_marked_and_valid_for_a_week(drive) -> None:
    async def test(database: Database) -> None:
        clock = Clock()
        clock.now = time.time()
        logins = LoginSessions(database, clock)
        await CreateUser("maria", DIGEST, generated=True).run(database)
        owner = await logins.authenticate("maria", "correct horse")
        assert owner is not None and owner.has_initial_password
        assert await logins.find_user(await logins.create_session(owner, HERE)) == owner
        clock.now += INITIAL_PASSWORD_SECONDS + 60
        assert await logins.authenticate("maria", "correct horse") is None
        await SetPassword("maria", DIGEST, generated=True).run(database)
        clock.now = time.time()
        owner = await logins.authenticate("maria", "correct horse")
        assert owner is not None and owner.has_initial_password
        await SetPassword("maria", DIGEST).run(database)
        clock.now += INITIAL_PASSWORD_SECONDS * 100
        owner = await logins.authenticate("maria", "correct horse")
        assert owner is not None and not owner.has_initial_password

    drive(test)


@pytest.mark.parametrize("end", [SetPassword("maria", DIGEST), RemoveUser("maria")])
def test_sessions_end_when_the_password_changes_or_the_user_is_removed(drive, end) -> None:
    async def test(database: Database) -> None:
        await CreateUser("maria", DIGEST).run(database)
        logins = LoginSessions(database)
        owner = await logins.authenticate("maria", "correct horse")
        assert owner is not None
        token = await logins.create_session(owner, HERE)
        await end.run(database)
        assert await logins.find_user(token) is None

    drive(test)


def test_logins_beyond_the_queue_limit_are_refused(drive) -> None:
    async def test(database: Database) -> None:
        logins = LoginSessions(database)
        attempts = [
            asyncio.create_task(logins.authenticate("x", "y")) for _ in range(MAX_QUEUED_LOGINS + 2)
        ]
        done = await asyncio.gather(*attempts, return_exceptions=True)
        assert sum(isinstance(each, StoreBusy) for each in done) == 2
        assert await logins.authenticate("x", "y") is None

    drive(test)


def test_audit_log_lists_changes_without_secrets(drive) -> None:
    async def test(database: Database) -> None:
        await CreateUser("maria", DIGEST).run(database)
        app = await CreateApp("Shop", by="maria").run(database)
        token = await CreateToken("Shop", ("read",), by="maria").run(database)
        await RevokeToken(str(token.id), by="maria").run(database)
        await RevokeToken(str(token.id), by="maria").run(database)  # changes nothing
        found, more = await list_audit_entries(database)
        assert more is None
        assert [(each.who, each.deed) for each in found] == [
            ("maria", "revoked a token"),
            ("maria", "created a token"),
            ("maria", "created an app"),
            ("the terminal", "created a user"),
        ]
        text = " ".join(each.about for each in found)
        assert app.secret_token not in text and token.secret_token not in text
        assert DIGEST not in text
        page, more = await list_audit_entries(database, who="maria", limit=2)
        assert len(page) == 2 and more is not None
        rest, more = await list_audit_entries(database, who="maria", before=more, limit=2)
        assert [each.deed for each in rest] == ["created an app"] and more is None

    drive(test)


def test_audit_log_is_bounded(drive) -> None:
    async def test(database: Database) -> None:
        def many(connection) -> None:
            connection.execute(
                "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?) "
                "INSERT INTO audit (at, who, deed, about) SELECT n, 'a', 'b', 'c' FROM n",
                (MAX_AUDIT_ENTRIES,),
            )
            write_audit_entry(connection, "maria", "did more", "x" * 10_000)

        await database.write(many)
        kept = await database.read(
            lambda it: it.execute("SELECT count(*), max(length(about)) FROM audit").fetchone()
        )
        assert kept == (MAX_AUDIT_ENTRIES, 500)

    drive(test)
