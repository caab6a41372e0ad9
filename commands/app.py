"""`app`: create, change and remove apps and their tokens."""

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


def add(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to `subparsers`; `common` holds the options of all commands."""
    parser = subparsers.add_parser(
        "app",
        help="create and list apps and their tokens",
        description="Manage apps and tokens. A secret token is printed only when it is created.",
        epilog='example: python server.py app create "My site" --hosts www.example.com',
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    create = actions.add_parser(
        "create",
        parents=[common],
        help="create an app",
        epilog='example: python server.py app create "My site" --hosts www.example.com --json',
    )
    create.add_argument("name", metavar="NAME")
    create.add_argument("--public-token", metavar="T", help="public token (default: generated)")
    create.add_argument("--hosts", default="", metavar="A,B", help="hosts, comma-separated")
    create.add_argument(
        "--strict", action="store_true", help="reject events of types without a schema"
    )
    create.set_defaults(run=run, build_command=_create_command)

    listing = actions.add_parser(
        "list", parents=[common], help="list apps", epilog="example: python server.py app list"
    )
    listing.set_defaults(run=run, build_command=lambda _: ListApps())

    change = actions.add_parser(
        "change",
        parents=[common],
        help="change an app's name, public token, hosts or strictness",
        epilog="example: python server.py app change token_1 --hosts www.example.com,localhost",
    )
    change.add_argument("app", metavar="APP", help="id, name or public token of the app")
    change.add_argument("--name", help="new name")
    change.add_argument("--public-token", metavar="T", help="new public token")
    change.add_argument(
        "--hosts", metavar="A,B", help="new hosts, comma-separated; replaces the old ones"
    )
    change.add_argument(
        "--strict",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="reject events of types without a schema",
    )
    change.set_defaults(run=run, build_command=_change_command)

    remove = actions.add_parser(
        "remove",
        parents=[common],
        help="remove an app with its tokens, stories and schemas; its events are kept",
        epilog="example: python server.py app remove 3 --yes",
    )
    remove.add_argument("app", metavar="APP", help="id, name or public token of the app")
    add_yes_option(remove)
    remove.set_defaults(run=run, build_command=_remove_command)

    token = actions.add_parser(
        "token",
        parents=[common],
        help="create another token",
        epilog="example: python server.py app token 1 --scopes read,write",
    )
    token.add_argument("app", metavar="APP", help="id, name or public token of the app")
    token.add_argument(
        "--scopes",
        required=True,
        metavar="A,B",
        help=f"scopes, comma-separated: {', '.join(SCOPES)}",
    )
    token.set_defaults(
        run=run,
        build_command=lambda arguments: CreateToken(arguments.app, _split_commas(arguments.scopes)),
    )

    revoke = actions.add_parser(
        "revoke",
        parents=[common],
        help="revoke a token; it is invalid within a second",
        epilog="example: python server.py app revoke 3",
    )
    revoke.add_argument("token", metavar="TOKEN", help="id of the token, or the token")
    revoke.set_defaults(run=run, build_command=lambda arguments: RevokeToken(arguments.token))


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run the action and print the result."""
    result = asyncio.run(_run_command(Path(settings.data), arguments.build_command(arguments)))
    if arguments.json:
        plain = _format_times(msgspec.to_builtins(result))
        print(msgspec.json.encode({"apps": plain} if isinstance(plain, list) else plain).decode())
    elif isinstance(result, list):
        print("\n".join(map(_format_app, result)) or "No apps.")
    elif isinstance(result, App):
        print(_format_app(result))
    else:
        for name, value in _format_times(asdict(result)).items():
            print(f"{name.replace('_', ' '):<14}{_format_value(value)}")
    return 0


async def _run_command(data: Path, command: AdminCommand[Any]) -> Any:
    async with open_admin_backend(data, create=isinstance(command, CreateApp)) as backend:
        return await backend.run_command(command)


def _create_command(arguments: argparse.Namespace) -> CreateApp:
    hosts = _split_commas(arguments.hosts)
    return CreateApp(arguments.name, arguments.public_token, hosts, arguments.strict)


def _change_command(arguments: argparse.Namespace) -> ChangeApp:
    hosts = None if arguments.hosts is None else _split_commas(arguments.hosts)
    return ChangeApp(arguments.app, arguments.name, arguments.public_token, hosts, arguments.strict)


def _remove_command(arguments: argparse.Namespace) -> RemoveApp:
    confirm(arguments, f"Remove the app {arguments.app} with its tokens, stories and schemas?")
    return RemoveApp(arguments.app)


def _format_app(app: App) -> str:
    tokens = ", ".join(
        f"{token.id} ({' '.join(token.scopes)}{', revoked' * (token.revoked_at is not None)})"
        for token in app.tokens
    )
    hosts = f"  hosts {' '.join(app.hosts)}" if app.hosts else ""
    return f"{app.id}  {app.name}  public token: {app.public_token}{hosts}  tokens {tokens}"


def _format_times(value: Any) -> Any:
    """Return a result with its timestamps in µs converted to RFC 3339."""
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


def _split_commas(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
