"""`user`: who may see and change everything in a browser."""

import argparse
import asyncio
import sys
from dataclasses import asdict
from getpass import getpass
from pathlib import Path
from typing import Any

import msgspec

from app.settings import Settings
from commands.admin_backend import open_admin_backend
from commands.console import add_yes_option, confirm
from domain.admin.password_policy import password_problem
from domain.admin.user_names import normalize_password
from domain.common.timestamp import format_timestamp
from store.api.errors import StoreRefused
from store.sqlite.admin.password_hashing import generate_password, hash_password
from store.sqlite.admin.users import CreateUser, ListUsers, RemoveUser, SetPassword, User
from store.sqlite.core.command import AdminCommand


def add(words: Any, common: argparse.ArgumentParser) -> None:
    """The command's words."""
    parser = words.add_parser(
        "user",
        help="make and list users of the pages at /admin/",
        description="Users of the pages at /admin/. A password is asked for twice at a terminal, "
        "else it is the first line of stdin.",
        epilog="example: python server.py user create maria",
    )
    deeds = parser.add_subparsers(dest="deed", metavar="DEED", required=True)
    for name, words_of, make in (
        ("create", "make a user", CreateUser),
        ("password", "give a user another password; the user's sessions end", SetPassword),
    ):
        deed = deeds.add_parser(
            name,
            parents=[common],
            help=words_of,
            epilog=f"examples: python server.py user {name} maria; "
            f"python server.py user {name} maria --generate",
        )
        deed.add_argument("name", metavar="NAME")
        deed.add_argument(
            "--generate",
            action="store_true",
            help="make the password up, and print it once; at the first login it is changed",
        )
        deed.set_defaults(run=run, command=make)
    listing = deeds.add_parser(
        "list", parents=[common], help="list users", epilog="example: python server.py user list"
    )
    listing.set_defaults(run=run, command=ListUsers)
    remove = deeds.add_parser(
        "remove",
        parents=[common],
        help="remove a user; the user's sessions end",
        epilog="example: python server.py user remove maria --yes",
    )
    remove.add_argument("name", metavar="NAME")
    add_yes_option(remove)
    remove.set_defaults(run=run, command=RemoveUser)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Do the deed and print what came of it."""
    kind, made_up = arguments.command, None
    command: AdminCommand[Any]
    if kind is ListUsers:
        command = ListUsers()
    elif kind is RemoveUser:
        confirm(arguments, f"Remove the user {arguments.name}?")
        command = RemoveUser(arguments.name)
    else:
        password = made_up = generate_password() if arguments.generate else None
        if password is None:
            password = _read_password(arguments.name)
        command = kind(arguments.name, hash_password(password), generated=bool(made_up))
    result = asyncio.run(_run_command(Path(settings.data), command))
    told = [_user_json(each) for each in result] if isinstance(result, list) else _user_json(result)
    if isinstance(told, dict) and made_up:
        told["password"] = made_up
    if arguments.json:
        print(msgspec.json.encode({"users": told} if isinstance(told, list) else told).decode())
    elif isinstance(told, list):
        lines = [f"{user['id']}  {user['name']}  last seen {user['seen_at']}" for user in told]
        print("\n".join(lines) or "There is no user yet.")
    else:
        for name, value in told.items():
            print(f"{name.replace('_', ' '):<12}{value}")
    return 0


async def _run_command(data: Path, command: AdminCommand[Any]) -> Any:
    async with open_admin_backend(data, begins=isinstance(command, CreateUser)) as store:
        return await store.ask(command)


def _read_password(name: str) -> str:
    """The password; raises `StoreRefused` for one that cannot be."""
    if sys.stdin is None:
        raise StoreRefused("stdin is closed: write the password to it, or use --generate")
    if sys.stdin.isatty():
        password = getpass(f"Password for {name}: ")
        if normalize_password(getpass("Once more: ")) != normalize_password(password):
            raise StoreRefused("the two are not the same; nothing was changed")
    else:
        try:
            password = sys.stdin.buffer.readline().decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise StoreRefused("the password is not UTF-8 text; nothing was changed") from None
    if (wrong := password_problem(password, name)) is not None:
        raise StoreRefused(f"{wrong}; nothing was changed")
    return password


def _user_json(user: User) -> dict[str, Any]:
    seen = "never" if user.seen_at is None else format_timestamp(user.seen_at)
    return {**asdict(user), "created_at": format_timestamp(user.created_at), "seen_at": seen}
