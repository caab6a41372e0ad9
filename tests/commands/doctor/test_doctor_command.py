"""`doctor`, as its owner calls it, beside a server and without."""

import json
import signal
import socket


def told(answer):
    said = json.loads(answer.stdout)
    states = {}
    for each in said["findings"]:
        states.setdefault(each["check"], []).append((each["state"], each["words"]))
    return said["well"], states


def test_all_is_well_beside_a_server_that_is_ready(start, run):
    server = start("--sample")
    answer = run("doctor", "--data", str(server.data), "--port", str(server.port), "--json")
    well, found = told(answer)
    assert (answer.returncode, well) == (0, True), answer.stdout
    assert ("well", f"process {server.process.pid} serves, and is ready") in found["server"]
    # Its port is its own.
    assert "address" not in found
    words = run("doctor", "--data", str(server.data)).stdout
    assert words.endswith("All is well.\n"), words
    assert server.stop() == 0
    assert "Traceback" not in server.log


def test_a_server_that_hangs_is_found(start, run):
    server = start()
    server.process.send_signal(signal.SIGSTOP)
    try:
        answer = run("doctor", "--data", str(server.data), "--json")
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert answer.returncode == 1
    ((state, words),) = told(answer)[1]["server"]
    assert state == "fault"
    assert f"process {server.process.pid} holds the folder and does not answer" in words


def test_a_server_that_is_not_ready_is_found(start, run):
    server = start()
    # One request in flight, so that it waits before it ends.
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        server.ask("/healthz")
        server.process.send_signal(signal.SIGTERM)
        answer = run("doctor", "--data", str(server.data), "--json")
    assert answer.returncode == 1
    words = f"process {server.process.pid} is not ready: taking"
    assert told(answer)[1]["server"][0] == ("fault", words)


def test_what_should_not_stay_is_told_with_what_to_do_and_status_1(run, tmp_path):
    answer = run("doctor", "--data", str(tmp_path / "none"), "--host", "0.0.0.0", "--port", "0")
    assert answer.returncode == 1
    assert "FAULT data" in answer.stdout
    assert "FAULT proxies" in answer.stdout
    assert "→ name yours (--data" in answer.stdout
    assert answer.stdout.endswith("2 should not stay as they are.\n")
    assert not (tmp_path / "none").exists()


def test_it_changes_nothing_in_the_folder(start, run):
    server = start("--sample")
    assert server.stop() == 0
    data = server.data

    def state():
        return {
            path: path.read_bytes()
            for path in data.rglob("*")
            if path.is_file() and not path.name.endswith(("-shm", "-wal"))
        }

    before = state()
    assert run("doctor", "--data", str(data), "--port", "0").returncode == 0
    assert state() == before


def test_a_setting_that_is_wrong_is_told_like_by_every_command(run, tmp_path):
    answer = run("doctor", "--data", str(tmp_path), "--tz", "Mars/Olympus")
    assert answer.returncode == 2
    assert "Europe/Berlin" in answer.stderr


def test_what_may_not_be_looked_at_is_told_and_the_rest_is_looked_at(run, tmp_path, monkeypatch):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    (data / "marquee.db").symlink_to(data / "marquee.db")  # whoever looks at it gets an OSError
    answer = run("doctor", "--data", str(data), "--port", "0", "--json")
    well, found = told(answer)
    assert (answer.returncode, well) == (1, False)
    assert any(
        "cannot be looked at" in words for words in [w for each in found.values() for _, w in each]
    )
    assert "server" in found
    assert "Traceback" not in answer.stderr
