"""The argument parser of the program, built from those of the commands."""

import argparse
from typing import Any

from app.settings import IS_SINGLE_FILE, PROGRAM_COMMAND
from commands import app, backup, events, import_campaigns, options, rebuild, restore, stories, user
from commands.doctor import doctor


class ProgramArgumentParser(argparse.ArgumentParser):
    """A parser whose examples show the command that starts this program, also in subparsers."""

    def format_help(self) -> str:
        """Return the help with the command that starts this program."""
        return super().format_help().replace("python server.py", PROGRAM_COMMAND)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with all commands."""
    parser = ProgramArgumentParser(
        prog="marquee" if IS_SINGLE_FILE else "server.py",
        description="Banners, stories, events, rising pages and daily users from one process.",
        epilog="example: python server.py serve --sample --port 8000",
    )
    subparsers: Any = parser.add_subparsers(dest="command", metavar="COMMAND")
    common = options.common_parser()
    serve = subparsers.add_parser(
        "serve",
        parents=[common],
        help="start the server (the default command)",
        description="Start the server; SIGTERM stops it.",
        epilog="example: python server.py serve --data /var/lib/marquee --tz Europe/Berlin",
    )
    options.add_settings(serve)
    for command in (import_campaigns, stories, app, user, events, backup, restore, rebuild):
        command.add(subparsers, common)
    options.add_settings(doctor.add(subparsers, common))
    return parser
