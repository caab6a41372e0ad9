"""What commands write to: encodings that lack a character, readers that leave, full disks."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

NAME = "Caf\u00e9 \u4e2d\U0001f600"
SERVICE_LINKS = {"MARQUEE_SERVICE_HOST": "10.96.14.7", "MARQUEE_PORT": "tcp://10.96.14.7:8000"}


@pytest.fixture(scope="module")
def data(tmp_path_factory, run_command):
    """A data folder with an app, a story and a user whose names are not ASCII."""
    folder = tmp_path_factory.mktemp("console")
    data = folder / "data"
    assert (
        run_command("app", "create", NAME, "--public-token", "t", "--data", str(data)).returncode
        == 0
    )
    stories = folder / "stories.json"
    stories.write_text(json.dumps([{"id": 1, "app": "t", "img": NAME}]), "utf-8")
    assert run_command("stories", "import", str(stories), "--data", str(data)).returncode == 0
    made = run_command("user", "create", "Zo\u00eb", "--generate", "--data", str(data))
    assert made.returncode == 0, made.stderr
    return data


COMMANDS = [
    ["app", "list"],
    ["app", "list", "--json"],
    ["app", "change", "nobody \u00e9", "--name", "x"],
    ["stories", "list"],
    ["user", "list"],
    ["import", "--rejected"],
    ["import", "/nowhere/\u00e9"],
    ["events", "export"],
    ["events", "rejected"],
    ["doctor", "--port", "1"],
    ["rebuild"],
]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_character_that_the_encoding_lacks_is_escaped(data, words, encoding):
    done = subprocess.run(
        [sys.executable, "server.py", *words, "--data", str(data)],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        encoding=encoding,
        timeout=60,
    )
    assert "UnicodeEncodeError" not in done.stderr and "Traceback" not in done.stderr
    if words == ["app", "list"]:
        assert "\\u4e2d\\U0001f600" in done.stdout
    elif words[0] == "import" and words[1] != "--rejected":
        assert done.returncode == 1 and "/nowhere/" in done.stderr


def test_a_password_on_stdin_is_utf_8_whatever_the_encoding(data):
    for number, (typed, status) in enumerate([("pass \u00e9 w\u00f6rd 7q!\n", 0), (b"\xff\n", 1)]):
        done = subprocess.run(
            [sys.executable, "server.py", "user", "create", f"u{number}", "--data", str(data)],
            cwd=ROOT,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            input=typed.encode() if isinstance(typed, str) else typed,
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == status, done.stderr
        assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    "words",
    [["--help"], ["import", "--help"], *COMMANDS[:2], ["doctor"], ["import", "--rejected"]],
    ids=" ".join,
)  # fmt: skip
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_left_ends_a_command_quietly(data, words, unbuffered):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "server.py", *words, *["--data", str(data)] * ("--help" not in words)],
            cwd=ROOT,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    finally:
        os.close(writer)
    # argparse drops the error where its help is not buffered.
    assert done.returncode == 141 or (unbuffered and "--help" in words)
    assert done.stderr == ""


def test_output_that_cannot_be_written_is_an_error(data):
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "server.py", "app", "list", "--data", str(data)],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert re.fullmatch(r"marquee: .*No space left on device\n", done.stderr)


def without_stdout(data, *words):
    """Run a command whose stdout is closed."""
    command = [sys.executable, "server.py", *words, "--data", str(data)]
    return subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )


def test_a_command_without_stdout_does_its_work(data):
    done = without_stdout(data, "app", "list")
    assert (done.returncode, done.stderr) == (0, "")


def test_an_export_to_a_closed_stdout_is_an_error(data):
    done = without_stdout(data, "events", "export")
    wanted = "marquee: stdout is closed: name a file with --output\n"
    assert (done.returncode, done.stderr) == (1, wanted)


def test_a_password_from_a_closed_stdin_is_refused(data):
    command = [sys.executable, "server.py", "user", "create", "otto", "--data", str(data)]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *command],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and done.stderr.startswith("marquee: stdin is closed")


@pytest.mark.parametrize(
    "words",
    [
        ["stories", "remove", "--yes"],
        ["events", "replay"],
        ["events", "rejected", "--app"],
        ["import", "--rejected", "--limit"],
        ["backup", "--to", "none", "--keep"],
    ],
    ids=" ".join,
)
def test_a_number_that_the_store_cannot_hold_is_a_usage_error(run_command, data, words):
    for number in ("9223372036854775808", "x"):
        done = run_command(*words, number, "--data", str(data))
        assert (done.returncode, "must be a whole number" in done.stderr) == (2, True), number


def test_a_command_that_makes_an_installation_names_it(run_command, tmp_path):
    data = tmp_path / "mistyped"
    made = run_command("app", "create", "a", "--data", str(data))
    assert made.returncode == 0
    assert f"created an installation folder={data}" in made.stderr
    again = run_command("app", "create", "b", "--data", str(data))
    assert (again.returncode, again.stderr) == (0, "")


def test_an_import_of_a_missing_folder_makes_no_installation(run_command, tmp_path):
    data = tmp_path / "mistyped"
    assert run_command("import", str(tmp_path / "none"), "--data", str(data)).returncode == 1
    assert not data.exists()


def test_a_server_starts_beside_service_link_variables_and_logs_them_once(start_server):
    server = start_server(**SERVICE_LINKS)
    assert server.request("/healthz").status == 200
    assert server.stop() == 0
    assert server.log.count("MARQUEE_PORT") == 1


REMOVALS = [["app", "remove", "t"], ["stories", "remove", "1"], ["user", "remove", "Zo\u00eb"]]


@pytest.mark.parametrize("words", REMOVALS, ids=" ".join)
def test_what_deletes_data_needs_yes_where_nobody_can_be_asked(run_command, data, words):
    refused = run_command(*words, "--data", str(data))
    assert refused.returncode == 1 and "--yes" in refused.stderr


@pytest.mark.parametrize(("typed", "status"), [(b"n\n", 1), (b"\n", 1), (b"\x04", 1), (b"y\n", 0)])
def test_what_deletes_data_asks_at_a_terminal(run_command, tmp_path, typed, status):
    data = str(tmp_path / "data")
    assert run_command("app", "create", "Site", "--data", data).returncode == 0
    ours, theirs = pty.openpty()
    command = [sys.executable, "server.py", "app", "remove", "Site", "--data", data]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs
    ) as removing:
        os.close(theirs)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(ours, 1_000)
        os.write(ours, typed)
        assert removing.wait(60) == status
    os.close(ours)
    assert b"the app Site with its tokens" in shown
    assert ("Site" in run_command("app", "list", "--data", data).stdout) == bool(status)


def test_revoking_a_token_asks_nothing(run_command, tmp_path):
    data = str(tmp_path / "data")
    assert run_command("app", "create", "Site", "--data", data).returncode == 0
    assert run_command("app", "revoke", "1", "--data", data).returncode == 0
