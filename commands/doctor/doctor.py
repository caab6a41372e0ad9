"""`doctor`: what is set up wrongly, and what to do."""

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from app.settings import IS_SINGLE_FILE, Settings
from commands.doctor.certificate import check_certificate
from commands.doctor.data_folder import check_data_folder
from commands.doctor.database import check_database
from commands.doctor.finding import DoctorFinding, fault
from commands.doctor.folder_contents import check_folder_contents
from commands.doctor.machine import check_machine
from commands.doctor.program import check_program
from commands.doctor.server import check_server
from commands.doctor.settings_agreement import check_settings
from commands.doctor.upstream import check_upstream

REQUIREMENTS_LOCK = Path(__file__).parents[2] / "requirements.lock"


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
    found = list(_run_checks(settings))
    wrong = [each for each in found if each.state == "fault"]
    if arguments.json:
        told = {"well": not wrong, "findings": msgspec.to_builtins(found)}
        print(msgspec.json.encode(told).decode())
    else:
        for each in found:
            print(
                f"{each.state.upper() if each in wrong else each.state:<6}{_format_finding(each)}"
            )
        print(f"{len(wrong)} should not stay as they are." if wrong else "All is well.")
    return 1 if wrong else 0


def _run_checks(settings: Settings) -> Iterator[DoctorFinding]:
    data, now = Path(settings.data), datetime.now(UTC)
    for name, check in (
        ("program", check_program(None if IS_SINGLE_FILE else REQUIREMENTS_LOCK)),
        ("machine", check_machine(settings)),
        ("settings", check_settings(settings)),
        ("tls", check_certificate(settings, now)),
        ("data", check_data_folder(data)),
        ("contents", check_folder_contents(data)),
        ("database", check_database(data, now)),
        ("server", check_server(settings)),
        ("upstream", check_upstream(settings)),
    ):
        try:
            yield from check
        except OSError as error:
            yield fault(name, f"cannot be looked at: {error}", "be the user who serves")


def _format_finding(finding: DoctorFinding) -> str:
    remedy = f"\n      {'':<13}→ {finding.remedy}" if finding.remedy else ""
    return f"{finding.check:<13}{finding.words}{remedy}"
