"""Terminal escapes: commands print client data without control characters."""

import json
import subprocess
import sys

import pytest

from tests.support import PROGRAMS, ROOT
from tests.support.web.attack_target import AttackTarget, attack_event

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x1b[1;1H\x9b31m\x08\x7f\u202eexe.gpj\u2066\u200b"


def unprintable_output(target: AttackTarget, *command: str) -> list[str]:
    """Run a command and return its unprintable characters, line breaks excepted."""
    done = subprocess.run(
        [sys.executable, "server.py", *command, "--data", str(target.server.data)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return [each for each in done.stdout + done.stderr if not each.isprintable() and each != "\n"]


def plant_escapes(target: AttackTarget) -> None:
    """Store control characters in every place that accepts them."""
    invalid = attack_event(timestamp=ESCAPES, category=5, **{ESCAPES: ESCAPES})
    assert {each["status"] for each in target.send(invalid, attack_event(name=ESCAPES))} <= {
        "rejected",
        "accepted",
    }
    owner = target.owner
    owner.post("/admin/apps", name=ESCAPES)
    owner.post("/admin/users", name=ESCAPES)
    story = {"app": "1", "id": "79", "metadata": json.dumps({"img": ESCAPES}), "order": "9"}
    owner.post("/admin/stories/edit", **story)
    rows = f"click_id,banner_id,campaign_id\n{ESCAPES},1,1\n".encode()
    target.wait_for_upload(target.upload(("1/clicks_1.csv", rows), (f"{ESCAPES}.csv", b"x")))


@pytest.fixture(scope="module")
def planted(target) -> AttackTarget:
    plant_escapes(target)
    return target


@pytest.mark.parametrize(
    "command",
    ["stories list 1", "events rejected", "events replay --all", "import --rejected",
     "import /tmp/\x1b[2Jx"],
)  # fmt: skip
def test_commands_print_no_control_characters(planted, command):
    assert unprintable_output(planted, *command.split(" ")) == []


def test_file_names_are_printed_escaped(target, tmp_path):
    folder = tmp_path / f"in{ESCAPES.replace('/', '')}"
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "clicks_1.csv").write_text("click_id,banner_id,campaign_id\n1,1,1\n")
    (folder / "1" / f"{ESCAPES}.txt").write_text("x")
    assert unprintable_output(target, "import", str(folder)) == []


def test_unprotected_command_prints_control_characters(unprotected):
    plant_escapes(unprotected)
    unprotected.send(attack_event(**{ESCAPES: 1}))
    program = str(PROGRAMS / "unprotected_server.py")
    done = subprocess.run(
        [sys.executable, program, "events", "rejected", "--data", str(unprotected.server.data)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "\x1b[2J" in done.stdout
