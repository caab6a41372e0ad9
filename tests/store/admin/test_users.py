"""Users, their sessions, and the list of what was changed."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from unicodedata import normalize

import pytest

from store.api.errors import StoreBusy, StoreRefused
from store.sqlite.admin.apps import CreateApp, CreateToken, RevokeToken
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


def test_a_password_is_known_by_its_digest_alone() -> None:
    assert verify_password(DIGEST, "correct horse")
    assert not verify_password(DIGEST, "correct horse ")
    assert not verify_password(None, "correct horse")
    assert not verify_password("no digest at all", "correct horse")
    assert DIGEST.startswith("$argon2id$") and "correct" not in DIGEST
    assert hash_password("correct horse") != DIGEST
    assert len({generate_password() for _ in range(100)}) == 100


def test_a_password_is_the_same_however_its_characters_are_encoded() -> None:
    word = "Größere Kännchen 44 Öl"
    composed, decomposed = normalize("NFC", word), normalize("NFD", word)
    assert composed != decomposed
    for kept in (
        hash_password(composed),
        hash_password(decomposed),
        PASSWORD_HASHER.hash(decomposed),
    ):
        assert verify_password(kept, decomposed)
    assert verify_password(hash_password(decomposed), composed.replace(" ", "\u00a0"))
    assert not verify_password(hash_password(composed), composed.upper())
    assert not verify_password(None, decomposed)


def test_a_user_is_found_however_the_name_is_spelt(
    drive: Callable[[Callable[[Database], Awaitable[None]]], None],
) -> None:
    async def test(database: Database) -> None:
        made = await CreateUser(normalize("NFD", "Jürgen"), DIGEST).run(database)
        assert made.name == "Jürgen"
        for spelt in ("jürgen", "JÜRGEN", normalize("NFD", "JÜRGEN")):
            with pytest.raises(StoreRefused, match="already"):
                await CreateUser(spelt, DIGEST).run(database)
            owner = await LoginSessions(database).check(spelt, "correct horse")
            assert owner is not None
            assert owner.name == "Jürgen"
        await SetPassword("JÜRGEN", DIGEST).run(database)
        await RemoveUser(normalize("NFD", "jürgen"), by="x").run(database)
        assert await ListUsers().run(database) == []

    drive(test)


def test_strangers_that_wait_do_not_keep_a_known_client_waiting(
    drive: Callable[[Callable[[Database], Awaitable[None]]], None],
) -> None:
    async def test(database: Database) -> None:
        await CreateUser("maria", DIGEST).run(database)
        logins = LoginSessions(database)
        strangers = [
            asyncio.create_task(logins.check(f"{n}", "x")) for n in range(MAX_QUEUED_LOGINS + 5)
        ]
        await asyncio.sleep(0)
        assert await logins.check("maria", "correct horse", known=True) is not None
        assert sum(not each.done() for each in strangers) >= MAX_QUEUED_LOGINS // 2
        results = await asyncio.gather(*strangers, return_exceptions=True)
        assert sum(isinstance(each, StoreBusy) for each in results) == 5

    drive(test)


def test_nobody_costs_as_much_as_a_user() -> None:
    """By the parameters: what takes as long can't be told apart by its time."""
    from store.sqlite.admin.password_hashing import DUMMY_DIGEST

    assert DUMMY_DIGEST.split("$")[:4] == DIGEST.split("$")[:4]
    assert len(DUMMY_DIGEST) == len(DIGEST)


def test_a_user_is_made_listed_and_removed(drive) -> None:
    async def test(database: Database) -> None:
        made = await CreateUser("Maria", DIGEST).run(database)
        with pytest.raises(StoreRefused, match="already"):
            await CreateUser("maria", DIGEST).run(database)
        with pytest.raises(StoreRefused, match="by now"):
            await CreateUser("otto", DIGEST, first=True).run(database)
        assert [(it.id, it.name, it.seen_at) for it in await ListUsers().run(database)] == [
            (made.id, "Maria", None)
        ]
        await RemoveUser("MARIA").run(database)
        assert await ListUsers().run(database) == []
        with pytest.raises(StoreRefused, match="no user"):
            await RemoveUser("maria").run(database)
        assert (await CreateUser("otto", DIGEST, first=True).run(database)).id > made.id

    drive(test)


@pytest.mark.parametrize("name", ["", "a b", "x" * 101, "a\nb", "<b>"])
def test_a_name_that_cannot_be_is_refused(drive, name: str) -> None:
    async def test(database: Database) -> None:
        with pytest.raises(StoreRefused, match="letters"):
            await CreateUser(name, DIGEST).run(database)

    drive(test)


def test_the_last_addresses_of_each_user_are_kept(drive) -> None:
    async def test(database: Database) -> None:
        clock = Clock()
        logins = LoginSessions(database, clock)
        owners = []
        for name in ("maria", "otto"):
            user = await CreateUser(name, DIGEST).run(database)
            owners.append(LoggedInUser(user.id, name, False))
        await logins.begin(owners[1], HERE)
        for number in range(MAX_KNOWN_ADDRESSES + 5):
            clock.now += 1
            await logins.begin(owners[0], b"%d" % number)
        kept = await logins.known_addresses()
        newest = [("maria", b"%d" % number) for number in range(5, MAX_KNOWN_ADDRESSES + 5)]
        assert sorted(kept) == sorted([*newest, ("otto", HERE)])
        clock.now += ADDRESS_TTL_SECONDS
        await logins.begin(owners[0], b"new")
        assert await logins.known_addresses() == [("maria", b"new")]
        await RemoveUser("maria").run(database)
        assert await logins.known_addresses() == []

    drive(test)


def test_a_session_lasts_until_it_is_logged_out(drive) -> None:
    async def test(database: Database) -> None:
        await CreateUser("maria", DIGEST).run(database)
        logins = LoginSessions(database)
        assert await logins.check("maria", "wrong") is None
        assert await logins.check("nobody", "correct horse") is None
        owner = await logins.check("MARIA", "correct horse")
        assert owner is not None and owner.name == "maria"
        one, other = await logins.begin(owner, HERE), await logins.begin(owner, HERE)
        assert await logins.who(one) == owner == await logins.who(other)
        await logins.end(one)
        assert await logins.who(one) is None
        assert await logins.who(other) == owner
        (user,) = await ListUsers().run(database)
        assert user.seen_at is not None

    drive(test)


def test_a_cookie_is_not_in_the_database(drive, tmp_path: Path) -> None:
    async def test(database: Database) -> None:
        await CreateUser("maria", DIGEST).run(database)
        logins = LoginSessions(database)
        owner = await logins.check("maria", "correct horse")
        assert owner is not None
        token = await logins.begin(owner, HERE)
        await database.scrub()
        held = b"".join(path.read_bytes() for path in tmp_path.iterdir())
        assert token.encode() not in held and b"correct horse" not in held

    drive(test)


def test_a_session_ends_a_week_after_its_last_use_and_a_month_after_its_beginning(drive) -> None:
    async def test(database: Database) -> None:
        await CreateUser("maria", DIGEST).run(database)
        clock = Clock()
        logins = LoginSessions(database, clock)
        owner = await logins.check("maria", "correct horse")
        assert owner is not None
        token, unused = await logins.begin(owner, HERE), await logins.begin(owner, HERE)
        began = clock.now
        while clock.now < began + MAX_SESSION_SECONDS - USE_INTERVAL_SECONDS:
            assert await logins.who(token) == owner
            clock.now += MAX_IDLE_SECONDS - USE_INTERVAL_SECONDS
        clock.now = began + MAX_IDLE_SECONDS
        assert await logins.who(unused) is None
        clock.now = began + MAX_SESSION_SECONDS
        assert await logins.who(token) is None
        await logins.begin(owner, HERE)
        kept = await database.read(lambda it: it.execute("SELECT count(*) FROM login").fetchone())
        assert kept == (1,)

    drive(test)


def test_a_password_that_was_made_up_lets_in_for_a_week_and_is_told_as_such(drive) -> None:
    async def test(database: Database) -> None:
        clock = Clock()
        clock.now = time.time()
        logins = LoginSessions(database, clock)
        await CreateUser("maria", DIGEST, given=True).run(database)
        owner = await logins.check("maria", "correct horse")
        assert owner is not None and owner.given
        assert await logins.who(await logins.begin(owner, HERE)) == owner
        clock.now += INITIAL_PASSWORD_SECONDS + 60
        assert await logins.check("maria", "correct horse") is None
        await SetPassword("maria", DIGEST, given=True).run(database)
        clock.now = time.time()
        owner = await logins.check("maria", "correct horse")
        assert owner is not None and owner.given
        await SetPassword("maria", DIGEST).run(database)
        clock.now += INITIAL_PASSWORD_SECONDS * 100
        owner = await logins.check("maria", "correct horse")
        assert owner is not None and not owner.given

    drive(test)


@pytest.mark.parametrize("end", [SetPassword("maria", DIGEST), RemoveUser("maria")])
def test_a_users_sessions_end_with_the_password_and_the_user(drive, end) -> None:
    async def test(database: Database) -> None:
        await CreateUser("maria", DIGEST).run(database)
        logins = LoginSessions(database)
        owner = await logins.check("maria", "correct horse")
        assert owner is not None
        token = await logins.begin(owner, HERE)
        await end.run(database)
        assert await logins.who(token) is None

    drive(test)


def test_no_more_passwords_wait_than_may(drive) -> None:
    async def test(database: Database) -> None:
        logins = LoginSessions(database)
        asked = [asyncio.create_task(logins.check("x", "y")) for _ in range(MAX_QUEUED_LOGINS + 2)]
        done = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(each, StoreBusy) for each in done) == 2
        assert await logins.check("x", "y") is None

    drive(test)


def test_what_is_changed_is_listed_without_secrets(drive) -> None:
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
            ("maria", "made a token"),
            ("maria", "made an app"),
            ("the terminal", "made a user"),
        ]
        told = " ".join(each.about for each in found)
        assert app.secret_token not in told and token.secret_token not in told
        assert DIGEST not in told
        page, more = await list_audit_entries(database, who="maria", limit=2)
        assert len(page) == 2 and more is not None
        rest, more = await list_audit_entries(database, who="maria", before=more, limit=2)
        assert [each.deed for each in rest] == ["made an app"] and more is None

    drive(test)


def test_the_list_of_changes_is_bounded(drive) -> None:
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
