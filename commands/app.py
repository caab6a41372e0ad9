"""`app`: the applications that may write and read, and their tokens."""

import argparse
import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from app.settings import Settings
from commands.admin_backend import open_admin_backend
from commands.console import add_yes_option, confirm
from domain.common.timestamp import format_timestamp
from store.sqlite.admin.apps import App, ChangeApp, CreateApp, ListApps, RemoveApp
from store.sqlite.admin.tokens import SCOPES, CreateToken, RevokeToken
from store.sqlite.core.command import AdminCommand


def add(words: Any, common: argparse.ArgumentParser) -> None:
    """The command's words."""
    parser = words.add_parser(
        "app",
        help="make and list apps and their tokens",
        description="Apps and their tokens. A secret token is shown once, when it is made.",
        epilog='example: python server.py app create "My site" --hosts www.example.com',
    )
    deeds = parser.add_subparsers(dest="deed", metavar="DEED", required=True)

    create = deeds.add_parser(
        "create",
        parents=[common],
        help="make an app",
        epilog='example: python server.py app create "My site" --hosts www.example.com --json',
    )
    create.add_argument("name", metavar="NAME")
    create.add_argument("--public-token", metavar="T", help="made up if not given")
    create.add_argument("--hosts", default="", metavar="A,B", help="its hosts, by comma")
    create.add_argument(
        "--strict", action="store_true", help="refuse events for which there is no rule"
    )
    create.set_defaults(run=run, command_of=_create_command)

    listing = deeds.add_parser(
        "list", parents=[common], help="list apps", epilog="example: python server.py app list"
    )
    listing.set_defaults(run=run, command_of=lambda _: ListApps())

    change = deeds.add_parser(
        "change",
        parents=[common],
        help="change an app's name, public token, hosts or strictness",
        epilog="example: python server.py app change token_1 --hosts www.example.com,localhost",
    )
    change.add_argument("app", metavar="APP", help="its id, name or public token")
    change.add_argument("--name", help="its new name")
    change.add_argument("--public-token", metavar="T", help="this one in place of the old one")
    change.add_argument("--hosts", metavar="A,B", help="all its hosts, by comma")
    change.add_argument(
        "--strict",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="refuse events for which there is no rule",
    )
    change.set_defaults(run=run, command_of=_change_command)

    remove = deeds.add_parser(
        "remove",
        parents=[common],
        help="remove an app with its tokens, stories and rules; its events stay",
        epilog="example: python server.py app remove 3 --yes",
    )
    remove.add_argument("app", metavar="APP", help="its id, name or public token")
    add_yes_option(remove)
    remove.set_defaults(run=run, command_of=_remove_command)

    token = deeds.add_parser(
        "token",
        parents=[common],
        help="make another token",
        epilog="example: python server.py app token 1 --scopes read,write",
    )
    token.add_argument("app", metavar="APP", help="its id, name or public token")
    token.add_argument("--scopes", required=True, metavar="A,B", help=f"of {', '.join(SCOPES)}")
    token.set_defaults(
        run=run, command_of=lambda said: CreateToken(said.app, _split_commas(said.scopes))
    )

    revoke = deeds.add_parser(
        "revoke",
        parents=[common],
        help="revoke a token; it is refused within a second",
        epilog="example: python server.py app revoke 3",
    )
    revoke.add_argument("token", metavar="TOKEN", help="its id, or the token")
    revoke.set_defaults(run=run, command_of=lambda said: RevokeToken(said.token))


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Do the deed and print what came of it."""
    result = asyncio.run(_run_command(Path(settings.data), arguments.command_of(arguments)))
    if arguments.json:
        plain = _format_times(msgspec.to_builtins(result))
        print(msgspec.json.encode({"apps": plain} if isinstance(plain, list) else plain).decode())
    elif isinstance(result, list):
        print("\n".join(map(_format_app, result)) or "There is no app yet.")
    elif isinstance(result, App):
        print(_format_app(result))
    else:
        for name, value in _format_times(asdict(result)).items():
            print(f"{name.replace('_', ' '):<14}{_format_value(value)}")
    return 0


async def _run_command(data: Path, command: AdminCommand[Any]) -> Any:
    async with open_admin_backend(data, begins=isinstance(command, CreateApp)) as store:
        return await store.ask(command)


def _create_command(said: argparse.Namespace) -> CreateApp:
    return CreateApp(said.name, said.public_token, _split_commas(said.hosts), said.strict)


def _change_command(said: argparse.Namespace) -> ChangeApp:
    hosts = None if said.hosts is None else _split_commas(said.hosts)
    return ChangeApp(said.app, said.name, said.public_token, hosts, said.strict)


def _remove_command(arguments: argparse.Namespace) -> RemoveApp:
    confirm(arguments, f"Remove the app {arguments.app} with its tokens, stories and rules?")
    return RemoveApp(arguments.app)


def _format_app(app: App) -> str:
    tokens = ", ".join(
        f"{token.id} ({' '.join(token.scopes)}{', revoked' * (token.revoked_at is not None)})"
        for token in app.tokens
    )
    hosts = f"  hosts {' '.join(app.hosts)}" if app.hosts else ""
    return f"{app.id}  {app.name}  public token: {app.public_token}{hosts}  tokens {tokens}"


def _format_times(value: Any) -> Any:
    """A result with its moments, microseconds inside, as RFC 3339 has them."""
    if isinstance(value, list):
        return [_format_times(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: format_timestamp(each)
        if name.endswith("_at") and each is not None
        else _format_times(each)
        for name, each in value.items()
    }


def _format_value(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _split_commas(said: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in said.split(",") if part.strip())
