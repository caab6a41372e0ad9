"""Apps and their tokens."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from store.api.errors import StoreRefused
from store.sqlite.admin.apps import App, CreateApp, ListApps, NewApp
from store.sqlite.admin.token_authenticator import (
    TOKEN_CACHE_SECONDS,
    AppAccess,
    TokenAuthenticator,
)
from store.sqlite.admin.tokens import CreateToken, RevokeToken
from store.sqlite.core.command import AdminCommand
from store.sqlite.core.database import Database
from tests.support.banners.campaign_files import query_rows, with_database


def refused(data: Path, command: AdminCommand[object]) -> str:
    with pytest.raises(StoreRefused) as raised:
        with_database(data, command.run)
    return str(raised.value)


def access(data: Path, token: str) -> AppAccess | None:
    return with_database(data, lambda database: TokenAuthenticator(database).authenticate(token))


def test_new_app_has_a_token_with_write_and_read_scope(tmp_path: Path) -> None:
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


def test_only_the_sha256_of_a_secret_token_is_stored(tmp_path: Path) -> None:
    app = with_database(tmp_path, CreateApp("shop").run)
    (row,) = query_rows(tmp_path, "SELECT * FROM token")
    assert hashlib.sha256(app.secret_token.encode()).digest() in row
    secret = app.secret_token.removeprefix("mq_1_").encode()
    assert len(secret) >= 32
    assert secret not in (tmp_path / "marquee.db").read_bytes()


def test_generated_public_tokens_differ(tmp_path: Path) -> None:
    first = with_database(tmp_path, CreateApp("one").run)
    second = with_database(tmp_path, CreateApp("two").run)
    assert first.public_token != second.public_token
    assert first.public_token.isalnum()


def test_names_and_public_tokens_are_unique(tmp_path: Path) -> None:
    with_database(tmp_path, CreateApp("shop", "token_1").run)
    assert refused(tmp_path, CreateApp("shop")) == "app 1 has the name 'shop' already"
    message = refused(tmp_path, CreateApp("other", "token_1"))
    assert message == "app 1 has the public token 'token_1' already"
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
        (CreateToken("nobody", ("fly",)), "invalid scopes 'fly'"),
        (CreateToken("nobody", ()), "use write, read, admin"),
        (RevokeToken("7"), "no token with the id 7"),
        (RevokeToken("seven"), "give its id or its full text"),
    ],
)
def test_invalid_command_is_refused_with_its_reason(
    tmp_path: Path, command: AdminCommand[object], reason: str
) -> None:
    assert reason in refused(tmp_path, command)


def test_hosts_are_stored_in_canonical_form_without_duplicates(tmp_path: Path) -> None:
    hosts = ("WWW.Example.com.", "localhost:8000", "127.0.0.1", "www.example.com", "a_b.example")
    with_database(tmp_path, CreateApp("shop", hosts=hosts).run)
    (app,) = with_database(tmp_path, ListApps().run)
    assert app.hosts == ["www.example.com", "localhost:8000", "127.0.0.1", "a_b.example"]


@pytest.mark.parametrize("reference", ["1", "shop", "token_1"])
def test_additional_token_has_the_requested_scopes(tmp_path: Path, reference: str) -> None:
    with_database(tmp_path, CreateApp("shop", "token_1").run)
    token = with_database(tmp_path, CreateToken(reference, ("admin", "read", "read")).run)
    assert (token.id, token.app, token.scopes) == (2, 1, ["read", "admin"])
    assert access(tmp_path, token.secret_token) == AppAccess(2, 1, frozenset({"read", "admin"}))


def test_reference_that_matches_two_apps_is_refused(tmp_path: Path) -> None:
    with_database(tmp_path, CreateApp("2", "token_1").run)
    with_database(tmp_path, CreateApp("other", "token_2").run)
    assert "give a public token" in refused(tmp_path, CreateToken("2", ("read",)))


def test_altered_token_is_not_authenticated(tmp_path: Path) -> None:
    app = with_database(tmp_path, CreateApp("shop").run)
    token = app.secret_token
    for altered in (
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
        assert access(tmp_path, altered) is None, altered


@pytest.mark.parametrize("full", [True, False])
def test_revoked_token_is_rejected_and_others_remain_valid(tmp_path: Path, full: bool) -> None:
    app = with_database(tmp_path, CreateApp("shop").run)
    other = with_database(tmp_path, CreateToken("shop", ("read",)).run)
    reference = app.secret_token if full else "1"
    revoked = with_database(tmp_path, RevokeToken(reference).run)
    assert revoked.id == 1 and revoked.revoked_at is not None
    assert with_database(tmp_path, RevokeToken(reference).run) == revoked
    assert access(tmp_path, app.secret_token) is None
    assert access(tmp_path, other.secret_token) is not None


def test_revocation_takes_effect_within_a_second_despite_the_cache(
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
        authenticator = TokenAuthenticator(database)
        monkeypatch.setattr(Database, "read", counted)

        async def authenticate() -> AppAccess | None:
            return await authenticator.authenticate(app.secret_token)

        assert None not in await asyncio.gather(*[authenticate() for _ in range(100)])
        assert reads == 1
        await RevokeToken("1").run(database)
        await asyncio.sleep(1)
        assert await authenticate() is None

    assert TOKEN_CACHE_SECONDS < 1
    with_database(tmp_path, use)


def test_authorization_field_is_cached_for_less_than_a_second(tmp_path: Path) -> None:
    async def use(database: Database) -> None:
        now = 100.0
        token = (await CreateApp("shop").run(database)).secret_token
        authenticator = TokenAuthenticator(database, lambda: now)
        assert authenticator.peek(f"Bearer {token}") is None
        assert await authenticator.authenticate(f"{token[:-1]}-") is None
        access = await authenticator.authenticate(token)
        found = authenticator.peek(f"Bearer {token}")
        assert found is not None
        assert (found.access, found.expires_at) == (access, now + TOKEN_CACHE_SECONDS)
        for other in (
            token,
            f"Bearer {token}x",
            f"bearer {token}",
            f"Bearer {token[:-1]}-",
            "",
            "é",
        ):
            assert authenticator.peek(other) is None
        now += TOKEN_CACHE_SECONDS
        assert authenticator.peek(f"Bearer {token}") is None

    with_database(tmp_path, use)


def test_command_reports_its_result_type() -> None:
    assert CreateApp.answer() is NewApp
    assert ListApps.answer() == list[App]
