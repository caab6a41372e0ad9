"""`user`: create, list and remove users of the admin pages."""

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


def add(subparsers: Any, common: argparse.ArgumentParser) -> None:
    """Add the command to `subparsers`; `common` holds the options of all commands."""
    parser = subparsers.add_parser(
        "user",
        help="create and list users of the admin pages",
        description="Manage users of the admin pages. The password is prompted for at a terminal, "
        "else it is the first line of stdin.",
        epilog="example: python server.py user create maria",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, help_text, command_class in (
        ("create", "create a user", CreateUser),
        ("password", "change a user's password and end the user's sessions", SetPassword),
    ):
        action = actions.add_parser(
            name,
            parents=[common],
            help=help_text,
            epilog=f"examples: python server.py user {name} maria; "
            f"python server.py user {name} maria --generate",
        )
        action.add_argument("name", metavar="NAME")
        action.add_argument(
            "--generate",
            action="store_true",
            help="print a generated password once; the user must change it at the first login",
        )
        action.set_defaults(run=run, command_class=command_class)
    listing = actions.add_parser(
        "list", parents=[common], help="list users", epilog="example: python server.py user list"
    )
    listing.set_defaults(run=run, command_class=ListUsers)
    remove = actions.add_parser(
        "remove",
        parents=[common],
        help="remove a user and end the user's sessions",
        epilog="example: python server.py user remove maria --yes",
    )
    remove.add_argument("name", metavar="NAME")
    add_yes_option(remove)
    remove.set_defaults(run=run, command_class=RemoveUser)


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run the action and print the result."""
    command_class, generated = arguments.command_class, None
    command: AdminCommand[Any]
    if command_class is ListUsers:
        command = ListUsers()
    elif command_class is RemoveUser:
        confirm(arguments, f"Remove the user {arguments.name}?")
        command = RemoveUser(arguments.name)
    else:
        password = generated = generate_password() if arguments.generate else None
        if password is None:
            password = _read_password(arguments.name)
        command = command_class(arguments.name, hash_password(password), generated=bool(generated))
    result = asyncio.run(_run_command(Path(settings.data), command))
    output = (
        [_user_json(each) for each in result] if isinstance(result, list) else _user_json(result)
    )
    if isinstance(output, dict) and generated:
        output["password"] = generated
    if arguments.json:
        print(
            msgspec.json.encode({"users": output} if isinstance(output, list) else output).decode()
        )
    elif isinstance(output, list):
        lines = [f"{user['id']}  {user['name']}  last seen {user['seen_at']}" for user in output]
        print("\n".join(lines) or "No users.")
    else:
        for name, value in output.items():
            print(f"{name.replace('_', ' '):<12}{value}")
    return 0


async def _run_command(data: Path, command: AdminCommand[Any]) -> Any:
    async with open_admin_backend(data, create=isinstance(command, CreateUser)) as backend:
        return await backend.run_command(command)


def _read_password(name: str) -> str:
    """Read the password; raise `StoreRefused` if it is not acceptable."""
    if sys.stdin is None:
        raise StoreRefused("stdin is closed: write the password to it, or use --generate")
    if sys.stdin.isatty():
        password = getpass(f"Password for {name}: ")
        if normalize_password(getpass("Repeat password: ")) != normalize_password(password):
            raise StoreRefused("the passwords do not match; nothing was changed")
    else:
        try:
            password = sys.stdin.buffer.readline().decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise StoreRefused("the password is not UTF-8 text; nothing was changed") from None
    if (problem := password_problem(password, name)) is not None:
        raise StoreRefused(f"{problem}; nothing was changed")
    return password


def _user_json(user: User) -> dict[str, Any]:
    seen = "never" if user.seen_at is None else format_timestamp(user.seen_at)
    return {**asdict(user), "created_at": format_timestamp(user.created_at), "seen_at": seen}
