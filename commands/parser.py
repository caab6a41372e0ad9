"""The words that an owner may say, from those of each command."""

import argparse
from typing import Any

from app.settings import IS_SINGLE_FILE, PROGRAM_COMMAND
from commands import app, backup, events, import_campaigns, options, rebuild, restore, stories, user
from commands.doctor import doctor


class ProgramArgumentParser(argparse.ArgumentParser):
    """A parser whose examples call the program as its user does; its subparsers are such, too."""

    def format_help(self) -> str:
        """The help."""
        return super().format_help().replace("python server.py", PROGRAM_COMMAND)


def build_parser() -> argparse.ArgumentParser:
    """The words that an owner may say."""
    said = ProgramArgumentParser(
        prog="marquee" if IS_SINGLE_FILE else "server.py",
        description="Banners, stories, events, rising pages and daily users from one process.",
        epilog="example: python server.py serve --sample --port 8000",
    )
    words: Any = said.add_subparsers(dest="command", metavar="COMMAND")
    common = options.common_parser()
    serving = words.add_parser(
        "serve",
        parents=[common],
        help="serve (the default command)",
        description="Serve until SIGTERM.",
        epilog="example: python server.py serve --data /var/lib/marquee --tz Europe/Berlin",
    )
    options.add_settings(serving)
    for command in (import_campaigns, stories, app, user, events, backup, restore, rebuild):
        command.add(words, common)
    options.add_settings(doctor.add(words, common))
    return said
