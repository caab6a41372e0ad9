"""Apps and their tokens."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from store.api.errors import StoreRefused
from store.sqlite.admin import apps
from store.sqlite.admin.apps import (
    AppAccess,
    CreateApp,
    CreateToken,
    ListApps,
    RevokeToken,
    TokenAuthenticator,
)
from store.sqlite.core.command import AdminCommand
from store.sqlite.core.database import Database
from tests.support.banners.campaign_files import rows, with_database


def refused(data: Path, command: AdminCommand[object]) -> str:
    with pytest.raises(StoreRefused) as raised:
        with_database(data, command.run)
    return str(raised.value)


def access(data: Path, token: str) -> AppAccess | None:
    return with_database(data, lambda database: TokenAuthenticator(database).authenticate(token))


def test_a_new_app_has_a_token_that_may_write_and_read(tmp_path: Path) -> None:
    app = with_database(tmp_path, CreateApp("shop", "token_1", ("www.example.com",), True).run)
    assert (app.id, app.name, app.public_token) == (1, "shop", "token_1")
    assert app.secret_token.startswith("mq_1_")
    assert access(tmp_path, app.secret_token) == AppAccess(1, 1, frozenset({"write", "read"}), True)
    (listed,) = with_database(tmp_path, ListApps().run)
    assert (listed.name, listed.public_token, listed.hosts) == (
        "shop",
        "token_1",
        ["www.example.com"],
    )
    assert listed.strict
    assert [(token.scopes, token.revoked_at) for token in listed.tokens] == [
        (["write", "read"], None)
    ]


def test_a_secret_is_not_stored_but_its_sha_256(tmp_path: Path) -> None:
    app = with_database(tmp_path, CreateApp("shop").run)
    (row,) = rows(tmp_path, "SELECT * FROM token")
    assert hashlib.sha256(app.secret_token.encode()).digest() in row
    secret = app.secret_token.removeprefix("mq_1_").encode()
    assert len(secret) >= 32
    assert secret not in (tmp_path / "marquee.db").read_bytes()


def test_public_tokens_are_made_up_and_differ(tmp_path: Path) -> None:
    first = with_database(tmp_path, CreateApp("one").run)
    second = with_database(tmp_path, CreateApp("two").run)
    assert first.public_token != second.public_token
    assert first.public_token.isalnum()


def test_names_and_public_tokens_are_taken_once(tmp_path: Path) -> None:
    with_database(tmp_path, CreateApp("shop", "token_1").run)
    assert refused(tmp_path, CreateApp("shop")) == "app 1 has the name 'shop' already"
    told = refused(tmp_path, CreateApp("other", "token_1"))
    assert told == "app 1 has the public token 'token_1' already"
    assert len(with_database(tmp_path, ListApps().run)) == 1


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (CreateApp(" "), "name"),
        (CreateApp("a\nb"), "name"),
        (CreateApp("a" * 201), "name"),
        (CreateApp("a", ""), "public token"),
        (CreateApp("a", "a/b"), "public token"),
        (CreateApp("a", "tökén"), "public token"),
        (CreateApp("a", hosts=("",)), "invalid host ''"),
        (CreateApp("a", hosts=("https://example.com",)), "invalid host"),
        (CreateApp("a", hosts=("example.com/path",)), "invalid host"),
        (CreateApp("a", hosts=("-a.example",)), "invalid host"),
        (CreateApp("a", hosts=("a" * 300 + ".example",)), "invalid host"),
        (CreateToken("nobody", ("read",)), "no app 'nobody'"),
        (CreateToken("nobody", ("fly",)), "not 'fly'"),
        (CreateToken("nobody", ()), "scopes are some of write, read, admin"),
        (RevokeToken("7"), "no token with the id 7"),
        (RevokeToken("seven"), "by its id, or in full"),
    ],
)
def test_what_cannot_be_done_says_why(
    tmp_path: Path, command: AdminCommand[object], reason: str
) -> None:
    assert reason in refused(tmp_path, command)


def test_hosts_are_kept_as_they_are_compared(tmp_path: Path) -> None:
    hosts = ("WWW.Example.com.", "localhost:8000", "127.0.0.1", "www.example.com", "a_b.example")
    with_database(tmp_path, CreateApp("shop", hosts=hosts).run)
    (app,) = with_database(tmp_path, ListApps().run)
    assert app.hosts == ["www.example.com", "localhost:8000", "127.0.0.1", "a_b.example"]


@pytest.mark.parametrize("said", ["1", "shop", "token_1"])
def test_another_token_has_the_scopes_that_were_asked_for(tmp_path: Path, said: str) -> None:
    with_database(tmp_path, CreateApp("shop", "token_1").run)
    token = with_database(tmp_path, CreateToken(said, ("admin", "read", "read")).run)
    assert (token.id, token.app, token.scopes) == (2, 1, ["read", "admin"])
    assert access(tmp_path, token.secret_token) == AppAccess(2, 1, frozenset({"read", "admin"}))


def test_an_app_that_two_may_be_meant_by_has_to_be_named_otherwise(tmp_path: Path) -> None:
    with_database(tmp_path, CreateApp("2", "token_1").run)
    with_database(tmp_path, CreateApp("other", "token_2").run)
    assert "give a public token" in refused(tmp_path, CreateToken("2", ("read",)))


def test_a_token_that_is_not_exactly_right_is_none(tmp_path: Path) -> None:
    app = with_database(tmp_path, CreateApp("shop").run)
    token = app.secret_token
    for wrong in (
        "",
        "mq_1_",
        token[:-1],
        token + "A",
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        token.upper(),
        token.replace("mq_1_", "mq_2_"),
        token.replace("mq_1_", "mq_01_"),
        token + "\n",
        "Bearer " + token,
        app.public_token,
        "mq_99999999999999999999_" + "a" * 43,
    ):
        assert access(tmp_path, wrong) is None, wrong


@pytest.mark.parametrize("full", [True, False])
def test_a_revoked_token_is_refused_and_the_others_are_not(tmp_path: Path, full: bool) -> None:
    app = with_database(tmp_path, CreateApp("shop").run)
    other = with_database(tmp_path, CreateToken("shop", ("read",)).run)
    said = app.secret_token if full else "1"
    revoked = with_database(tmp_path, RevokeToken(said).run)
    assert revoked.id == 1 and revoked.revoked_at is not None
    assert with_database(tmp_path, RevokeToken(said).run) == revoked
    assert access(tmp_path, app.secret_token) is None
    assert access(tmp_path, other.secret_token) is not None


def test_a_revocation_is_felt_within_a_second_and_until_then_costs_no_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = 0
    real = Database.read

    async def counted(database: Database, job: Callable[..., object]) -> object:
        nonlocal reads
        reads += 1
        return await real(database, job)

    async def use(database: Database) -> None:
        app = await CreateApp("shop").run(database)
        known = TokenAuthenticator(database)
        monkeypatch.setattr(Database, "read", counted)

        async def ask() -> AppAccess | None:
            return await known.authenticate(app.secret_token)

        assert None not in await asyncio.gather(*[ask() for _ in range(100)])
        assert reads == 1
        await RevokeToken("1").run(database)
        await asyncio.sleep(1)
        assert await ask() is None

    assert apps.TOKEN_CACHE_SECONDS < 1
    with_database(tmp_path, use)


def test_who_was_authenticated_is_known_at_once_for_less_than_a_second(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        now = 100.0
        token = (await CreateApp("shop").run(database)).secret_token
        known = TokenAuthenticator(database, lambda: now)
        assert known.peek(f"Bearer {token}") is None
        assert await known.authenticate(f"{token[:-1]}-") is None
        access = await known.authenticate(token)
        found = known.peek(f"Bearer {token}")
        assert found is not None
        assert (found.access, found.until) == (access, now + apps.TOKEN_CACHE_SECONDS)
        for other in (
            token,
            f"Bearer {token}x",
            f"bearer {token}",
            f"Bearer {token[:-1]}-",
            "",
            "é",
        ):
            assert known.peek(other) is None
        now += apps.TOKEN_CACHE_SECONDS
        assert known.peek(f"Bearer {token}") is None

    with_database(tmp_path, use)


def test_a_command_knows_the_type_of_its_answer() -> None:
    assert CreateApp.answer() is apps.NewApp
    assert ListApps.answer() == list[apps.App]
