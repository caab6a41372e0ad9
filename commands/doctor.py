"""`doctor`: what is set up wrongly, and what to do."""

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from checks.agreement import agreement
from checks.certificate import certificate
from checks.contents import contents
from checks.database import database
from checks.finding import Finding, fault
from checks.folder import folder
from checks.machine import machine
from checks.program import program
from checks.serving import serving
from checks.upstream import upstream
from settings import ONE_FILE, Settings

LOCK = Path(__file__).parent.parent / "requirements.lock"


def add(words: Any, common: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """The command's words; it takes the settings that the server would be given, too."""
    parser: argparse.ArgumentParser = words.add_parser(
        "doctor",
        parents=[common],
        help="find what is set up wrongly, and say what to do",
        description=(
            "Look over the data folder, the databases (all of marquee.db is read), the settings, "
            "the machine and the server that runs, with the settings that it is given. Changes "
            "nothing. Exit status 1 if something should not stay as it is."
        ),
        epilog="example: python server.py doctor --data /var/lib/marquee --port 443",
    )
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Look at everything; 0 if nothing is wrong, else 1."""
    found = list(_findings(settings))
    wrong = [each for each in found if each.state == "fault"]
    if arguments.json:
        told = {"well": not wrong, "findings": msgspec.to_builtins(found)}
        print(msgspec.json.encode(told).decode())
    else:
        for each in found:
            print(f"{each.state.upper() if each in wrong else each.state:<6}{_line(each)}")
        print(f"{len(wrong)} should not stay as they are." if wrong else "All is well.")
    return 1 if wrong else 0


def _findings(settings: Settings) -> Iterator[Finding]:
    data, now = Path(settings.data), datetime.now(UTC)
    for name, check in (
        ("program", program(None if ONE_FILE else LOCK)),
        ("machine", machine(settings)),
        ("settings", agreement(settings)),
        ("tls", certificate(settings, now)),
        ("data", folder(data)),
        ("contents", contents(data)),
        ("database", database(data, now)),
        ("server", serving(settings)),
        ("upstream", upstream(settings)),
    ):
        try:
            yield from check
        except OSError as error:
            yield fault(name, f"cannot be looked at: {error}", "be the user who serves")


def _line(finding: Finding) -> str:
    remedy = f"\n      {'':<13}→ {finding.remedy}" if finding.remedy else ""
    return f"{finding.check:<13}{finding.words}{remedy}"
