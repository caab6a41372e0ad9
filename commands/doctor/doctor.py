"""`doctor`: check the installation and suggest remedies."""

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
from commands.doctor.finding import DoctorFinding, problem
from commands.doctor.folder_contents import check_folder_contents
from commands.doctor.machine import check_machine
from commands.doctor.program import check_program
from commands.doctor.server import check_server
from commands.doctor.settings import check_settings
from commands.doctor.upstream import check_upstream
from domain.common.formatting import format_count

REQUIREMENTS_LOCK = Path(__file__).parents[2] / "requirements.lock"


def add(subparsers: Any, common: argparse.ArgumentParser) -> argparse.ArgumentParser:
    """Add the command to `subparsers`; the caller adds the settings of the server."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "doctor",
        parents=[common],
        help="check the installation and suggest remedies",
        description=(
            "Check the data folder, the databases (reads all of marquee.db), the settings, the "
            "machine and the running server. Pass the settings of the server. Changes nothing. "
            "Exits 1 if there are problems."
        ),
        epilog="example: python server.py doctor --data /var/lib/marquee --port 443",
    )
    parser.set_defaults(run=run)
    return parser


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run all checks and print the findings; return 1 if there are problems."""
    findings = list(_run_checks(settings))
    problems = [each for each in findings if each.state == "problem"]
    if arguments.json:
        result = {"ok": not problems, "findings": msgspec.to_builtins(findings)}
        print(msgspec.json.encode(result).decode())
    else:
        for each in findings:
            state = each.state.upper() if each.state == "problem" else each.state
            print(f"{state:<9}{_format_finding(each)}")
        print(f"{format_count(len(problems), 'problem')}." if problems else "No problems.")
    return 1 if problems else 0


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
            yield problem(
                name, f"cannot be checked: {error}", "run doctor as the user of the server"
            )


def _format_finding(finding: DoctorFinding) -> str:
    remedy = f"\n      {'':<16}→ {finding.remedy}" if finding.remedy else ""
    return f"{finding.check:<13}{finding.message}{remedy}"
