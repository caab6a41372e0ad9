"""The `doctor` command, with a running server and without."""

import json
import signal
import socket


def parse_report(done):
    report = json.loads(done.stdout)
    states = {}
    for each in report["findings"]:
        states.setdefault(each["check"], []).append((each["state"], each["message"]))
    return report["ok"], states


def test_ready_server_has_no_problems(start_server, run_command):
    server = start_server("--sample")
    answer = run_command("doctor", "--data", str(server.data), "--port", str(server.port), "--json")
    ok, found = parse_report(answer)
    assert (answer.returncode, ok) == (0, True), answer.stdout
    assert ("ok", f"process {server.process.pid} is ready") in found["server"]
    # The server itself uses the port, so the address is not checked.
    assert "address" not in found
    output = run_command("doctor", "--data", str(server.data)).stdout
    assert output.endswith("No problems.\n"), output
    assert server.stop() == 0
    assert "Traceback" not in server.log


def test_hanging_server_is_reported(start_server, run_command):
    server = start_server()
    server.process.send_signal(signal.SIGSTOP)
    try:
        answer = run_command("doctor", "--data", str(server.data), "--json")
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert answer.returncode == 1
    ((state, message),) = parse_report(answer)[1]["server"]
    assert state == "problem"
    assert f"process {server.process.pid} has the folder locked and does not respond" in message


def test_server_that_is_not_ready_is_reported(start_server, run_command):
    server = start_server()
    # A request in progress delays the shutdown.
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        server.request("/healthz")
        server.process.send_signal(signal.SIGTERM)
        answer = run_command("doctor", "--data", str(server.data), "--json")
    assert answer.returncode == 1
    message = f"process {server.process.pid} is not ready: taking"
    assert parse_report(answer)[1]["server"][0] == ("problem", message)


def test_problems_are_printed_with_remedies_and_exit_status_1(run_command, tmp_path):
    answer = run_command(
        "doctor", "--data", str(tmp_path / "none"), "--host", "0.0.0.0", "--port", "0"
    )
    assert answer.returncode == 1
    assert "PROBLEM  data" in answer.stdout
    assert "PROBLEM  proxies" in answer.stdout
    assert "→ set another one (--data" in answer.stdout
    assert answer.stdout.endswith("2 problems.\n")
    assert not (tmp_path / "none").exists()


def test_doctor_does_not_change_the_folder(start_server, run_command):
    server = start_server("--sample")
    assert server.stop() == 0
    data = server.data

    def state():
        return {
            path: path.read_bytes()
            for path in data.rglob("*")
            if path.is_file() and not path.name.endswith(("-shm", "-wal"))
        }

    before = state()
    assert run_command("doctor", "--data", str(data), "--port", "0").returncode == 0
    assert state() == before


def test_invalid_setting_is_rejected(run_command, tmp_path):
    answer = run_command("doctor", "--data", str(tmp_path), "--tz", "Mars/Olympus")
    assert answer.returncode == 2
    assert "Europe/Berlin" in answer.stderr


def test_unreadable_file_does_not_stop_the_other_checks(run_command, tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "marquee.db").symlink_to(data / "marquee.db")  # every access raises OSError
    answer = run_command("doctor", "--data", str(data), "--port", "0", "--json")
    ok, found = parse_report(answer)
    assert (answer.returncode, ok) == (1, False)
    assert any("cannot be checked" in message for each in found.values() for _, message in each)
    assert "server" in found
    assert "Traceback" not in answer.stderr
