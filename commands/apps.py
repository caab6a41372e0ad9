"""`app`: the applications that may write and read, and their tokens."""

import argparse
import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from console import add_yes, confirm
from rules.timestamp import text
from settings import Settings
from store.apps import (
    SCOPES,
    App,
    ChangeApp,
    CreateApp,
    CreateToken,
    ListApps,
    RemoveApp,
    RevokeToken,
)
from store.commands import Command
from store.desk import desk


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
    create.set_defaults(run=run, command_of=_create)

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
    change.set_defaults(run=run, command_of=_change)

    remove = deeds.add_parser(
        "remove",
        parents=[common],
        help="remove an app with its tokens, stories and rules; its events stay",
        epilog="example: python server.py app remove 3 --yes",
    )
    remove.add_argument("app", metavar="APP", help="its id, name or public token")
    add_yes(remove)
    remove.set_defaults(run=run, command_of=_remove)

    token = deeds.add_parser(
        "token",
        parents=[common],
        help="make another token",
        epilog="example: python server.py app token 1 --scopes read,write",
    )
    token.add_argument("app", metavar="APP", help="its id, name or public token")
    token.add_argument("--scopes", required=True, metavar="A,B", help=f"of {', '.join(SCOPES)}")
    token.set_defaults(run=run, command_of=lambda said: CreateToken(said.app, _split(said.scopes)))

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
    result = asyncio.run(_do(Path(settings.data), arguments.command_of(arguments)))
    if arguments.json:
        plain = _told(msgspec.to_builtins(result))
        print(msgspec.json.encode({"apps": plain} if isinstance(plain, list) else plain).decode())
    elif isinstance(result, list):
        print("\n".join(map(_line, result)) or "There is no app yet.")
    elif isinstance(result, App):
        print(_line(result))
    else:
        for name, value in _told(asdict(result)).items():
            print(f"{name.replace('_', ' '):<14}{_shown(value)}")
    return 0


async def _do(data: Path, command: Command[Any]) -> Any:
    async with desk(data, begins=isinstance(command, CreateApp)) as store:
        return await store.ask(command)


def _create(said: argparse.Namespace) -> CreateApp:
    return CreateApp(said.name, said.public_token, _split(said.hosts), said.strict)


def _change(said: argparse.Namespace) -> ChangeApp:
    hosts = None if said.hosts is None else _split(said.hosts)
    return ChangeApp(said.app, said.name, said.public_token, hosts, said.strict)


def _remove(arguments: argparse.Namespace) -> RemoveApp:
    confirm(arguments, f"Remove the app {arguments.app} with its tokens, stories and rules?")
    return RemoveApp(arguments.app)


def _line(app: App) -> str:
    tokens = ", ".join(
        f"{token.id} ({' '.join(token.scopes)}{', revoked' * (token.revoked_at is not None)})"
        for token in app.tokens
    )
    hosts = f"  hosts {' '.join(app.hosts)}" if app.hosts else ""
    return f"{app.id}  {app.name}  public token: {app.public_token}{hosts}  tokens {tokens}"


def _told(value: Any) -> Any:
    """A result with its moments, microseconds inside, as RFC 3339 has them."""
    if isinstance(value, list):
        return [_told(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: text(each) if name.endswith("_at") and each is not None else _told(each)
        for name, each in value.items()
    }


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _split(said: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in said.split(",") if part.strip())
