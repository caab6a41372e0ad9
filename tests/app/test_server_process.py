"""Server process: start, settings, health, logs, TLS, shutdown."""

import contextlib
import http.client
import json
import re
import shutil
import signal
import socket
import sqlite3
import ssl
import stat
import subprocess
import sys
import threading
import time
import warnings
from urllib.parse import urlencode

import pytest

from tests.support import ROOT
from tests.support.web.admin_session import owner_credentials

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SETTINGS = (ROOT / "docs" / "reference" / "settings.md").read_text()


def test_port_0_binds_a_free_port_and_prints_it(start_server):
    server = start_server()
    assert server.port > 0
    assert server.request("/healthz").body == b"ok\n"


def test_readyz_reports_each_check(sample_server):
    answer = sample_server.request("/readyz")
    assert answer.status == 200
    assert answer.json()["checks"] == {
        "migrated": True,
        "warm": True,
        "writer": True,
        "projections": True,
        "taking": True,
    }
    old = sqlite3.sqlite_version_info < (3, 51, 3)
    assert any(sqlite3.sqlite_version in note for note in answer.json()["notes"]) == old


def test_metrics_count_responses_by_route_and_status(sample_server):
    def count(text: str) -> float:
        found = re.search(r'requests_total\{route="campaign page",status="200"\} (\S+)', text)
        return float(found[1]) if found else 0

    before = count(sample_server.request("/metrics").text)
    for _ in range(3):
        sample_server.request("/campaigns/1/")
    assert count(sample_server.request("/metrics").text) == before + 3


def test_a_second_server_on_the_same_data_folder_exits_with_an_error(start_server, run_command):
    first = start_server()
    second = run_command("serve", "--port", "0", "--data", str(first.data))
    assert second.returncode == 1
    assert str(first.process.pid) in second.stderr
    assert "Traceback" not in second.stderr


def test_a_data_folder_path_may_be_longer_than_a_socket_address(
    start_server, run_command, tmp_path
):
    server = start_server(data=tmp_path / ("a" * 60) / ("b" * 60))
    answer = run_command("app", "create", "deep", "--data", str(server.data), "--json")
    assert answer.returncode == 0, answer.stderr
    assert stat.S_IMODE((server.data / "marquee.sock").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "wrong",
    [
        ("--tls-cert", "/nowhere/cert.pem", "--tls-key", "/nowhere/key.pem"),
        ("--proxies", "proxy.example"),
        ("--host", "192.0.2.1"),
    ],
)
def test_unusable_settings_are_reported_before_the_data_folder_is_created(
    run_command, tmp_path, wrong
):
    data = tmp_path / "data"
    answer = run_command("serve", "--sample", "--port", "0", "--data", str(data), *wrong)
    assert answer.returncode in {1, 2}
    assert answer.stderr.startswith("marquee: ")
    assert answer.stderr.count("\n") == 1
    assert not data.exists()


def test_json_output_has_the_address_and_the_tokens(start_server):
    server = start_server("--sample", "--json")
    output = json.loads(server.stdout_lines[0])
    assert output["address"] == f"http://127.0.0.1:{server.port}/"
    assert output["data"] == str(server.data)
    token = output["apps"][0]["secret_token"]
    asked = server.request("/api/v1/campaigns/1/candidates", Authorization=f"Bearer {token}")
    assert "revenue" in asked.json()["banners"][0]


def test_a_port_in_use_is_reported_without_a_traceback(start_server, tmp_path, run_command):
    first = start_server()
    second = run_command("serve", "--port", str(first.port), "--data", str(tmp_path / "other"))
    assert second.returncode == 1
    assert str(first.port) in second.stderr
    assert "Traceback" not in second.stderr


def test_only_the_owner_may_access_the_data_folder(start_server):
    server = start_server("--sample")
    assert server.data.stat().st_mode & 0o777 == 0o700
    for name in ("marquee.db", "marquee.sock"):
        assert (server.data / name).stat().st_mode & 0o077 == 0, name


def test_sample_data_is_created_once_and_its_tokens_are_printed_once(start_server):
    server = start_server("--sample")
    printed = "".join(server.stdout_lines)
    time.sleep(0.3)
    assert len(re.findall(r"mq_\w+", "".join(server.stdout_lines))) >= 1, printed
    assert server.stop() == 0
    again = start_server("--sample")
    time.sleep(0.3)
    assert "mq_" not in "".join(again.stdout_lines)
    assert again.request("/campaigns/1/").status == 200


def test_a_server_without_sample_data_is_empty_and_ready(start_server):
    server = start_server()
    assert server.request("/campaigns/1/").status == 404
    assert server.request("/readyz").status == 200


@pytest.mark.parametrize("mode", [{"MARQUEE_SERVER": "tornado"}, {"MARQUEE_LOOP": "asyncio"}])
def test_responses_are_the_same_on_tornados_server_and_on_asyncio(
    start_server, sample_server, mode
):
    other = start_server("--sample", **mode)
    for path, method in [
        ("/campaigns/1/", "GET"),
        ("/campaigns/1/", "HEAD"),
        ("/campaigns/1/", "DELETE"),
        ("/campaigns/0/", "GET"),
        ("/campaigns/0/", "POST"),
        ("/banners/0", "GET"),
        ("/healthz", "GET"),
        ("/healthz", "PUT"),
        ("/readyz", "GET"),
        ("/nothing", "GET"),
        ("/", "GET"),
        ("/static/marquee.css", "GET"),
        ("/static/none.css", "GET"),
        ("/api/v1/campaigns/1/candidates?slot=9", "GET"),
        ("/api/v1/campaigns/999/candidates", "GET"),
    ]:
        named = {"X_Request_Id": "the-same"}  # otherwise each server generates one
        one, two = (each.request(path, method, **named) for each in (sample_server, other))
        assert one.status == two.status, (path, method)
        apart = {"date", "etag", "set-cookie", "last-modified", "content-length", "server"}
        names = [
            {(k.lower(), v) for k, v in each.headers.items() if k.lower() not in apart}
            for each in (one, two)
        ]
        assert names[0] == names[1], (path, method)
    assert other.stop() == 0, other.log


def test_sigterm_under_load_completes_every_started_request(start_server):
    server = start_server("--sample")
    begun, whole, faults = [], [], []
    go_on = threading.Event()
    go_on.set()

    def visit() -> None:
        while go_on.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
            try:
                connection.connect()
            except OSError:
                return  # the server no longer accepts
            try:
                while go_on.is_set():
                    try:
                        connection.request("GET", "/campaigns/1/")
                    except OSError:
                        break  # an idle connection was closed; no request was read
                    begun.append(1)
                    try:
                        answer = connection.getresponse()
                        body = answer.read()
                    except http.client.RemoteDisconnected:
                        # Closed before any byte of the request was read: a client may retry.
                        begun.pop()
                        break
                    except (OSError, http.client.HTTPException) as error:
                        faults.append(repr(error))
                        break
                    if answer.status == 200 and body.rstrip().endswith(b"</html>"):
                        whole.append(1)
                    else:
                        faults.append(str(answer.status))
                    if answer.headers["Connection"] == "close":
                        break
            finally:
                connection.close()

    # One request whose head has begun to arrive must still be answered.
    slow = socket.create_connection(("127.0.0.1", server.port))
    slow.sendall(b"GET /campaigns/1/ HTTP/1.1\r\nHost: x\r\n")
    threads = [threading.Thread(target=visit) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    slow.sendall(b"\r\n")
    received = b""
    while part := slow.recv(65536):
        received += part
    slow.close()
    assert server.wait() == 0, server.log
    go_on.clear()
    for thread in threads:
        thread.join()
    assert received.startswith(b"HTTP/1.1 200 "), received[:200]
    assert b"Connection: close" in received
    assert not faults
    assert len(whole) == len(begun) > 100


def test_a_second_signal_ends_a_draining_server_at_once(start_server):
    server = start_server("--drain-seconds", "600")
    slow = socket.create_connection(("127.0.0.1", server.port))
    slow.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
    assert server.request("/healthz").status == 200  # by now the server has read the slow request
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    assert server.process.poll() is None
    assert server.stop() != 0
    slow.close()


@pytest.mark.parametrize("seconds", [0, 0.003, 0.01, 0.03])
def test_a_signal_right_after_the_start_stops_the_server_without_errors(start_server, seconds):
    """Background steps have just started then and must end before the database closes."""
    server = start_server("--sample", "--retention-days", "40")
    time.sleep(seconds)
    assert server.stop() == 0
    assert not re.search(r"ERROR|WARNING|Traceback", server.log), server.log


def test_a_server_starts_again_after_a_kill(start_server):
    server = start_server("--sample")
    server.stop(signal.SIGKILL)
    assert start_server().request("/campaigns/1/").status == 200


def test_json_logs_contain_no_query_and_no_token(start_server):
    server = start_server("--sample", "--log-format", "json", "--access-log")
    server.request("/campaigns/1/?secret=hunter2")
    server.request(
        "/api/v1/campaigns/1/candidates?token=hunter2", Authorization="Bearer mq_9_hunter2"
    )
    assert server.stop() == 0
    lines = [json.loads(line) for line in server.log.splitlines()]
    assert any("/campaigns/1/" in line["message"] for line in lines)
    assert "hunter2" not in server.log


def test_requests_are_not_logged_without_the_access_log(start_server):
    server = start_server("--sample")
    before = len(server.stderr_lines)
    server.request("/campaigns/1/")
    server.request("/nothing")
    time.sleep(0.2)
    assert len(server.stderr_lines) == before


@pytest.mark.parametrize(
    "command", ["", "serve", "import", "app", "backup", "restore", "doctor", "rebuild"]
)
def test_help_shows_an_example(command, run_command):
    answer = run_command(*command.split(), "--help")
    assert answer.returncode == 0
    assert "xample" in answer.stdout


def test_help_and_reference_have_every_setting_with_its_default(run_command):
    from app.settings import settings_table

    text = run_command("serve", "--help").stdout
    for name, kind, default, _, _ in settings_table():
        assert f"--{name.replace('_', '-')}" in text or f"--[no-]{name}" in text
        shown = str(default).lower() if kind is bool else str(default)
        row = re.search(rf"^\| `{name}` \|.*$", SETTINGS, re.MULTILINE)
        assert row, f"docs/reference/settings.md lacks {name}"
        assert f"MARQUEE_{name.upper()}" in row[0]
        assert f"`{shown}`" in row[0] or default == ""


def test_an_invalid_setting_is_reported_with_exit_status_2(run_command):
    answer = run_command("serve", MARQUEE_TZ="Mars/Olympus")
    assert answer.returncode == 2
    assert "Mars/Olympus" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_python_without_the_packages_prints_how_to_install_them():
    bare = [sys.executable, "-I", "-S", "server.py"]
    done = subprocess.run(bare, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1 and "run `make install`" in done.stderr


def test_a_command_with_a_mistyped_data_folder_does_not_create_it(run_command, tmp_path):
    for words in (("app", "list"), ("rebuild",), ("import", "--rejected"), ("stories", "list")):
        done = run_command(*words, "--data", tmp_path / "mistyped")
        assert done.returncode == 1
        assert "there is no installation in" in done.stderr
    assert not (tmp_path / "mistyped").exists()


def test_a_command_in_a_hint_works_from_any_folder(tmp_path):
    """The hint has absolute paths: another Python or folder may be the default."""
    words = [sys.executable, ROOT / "server.py", "doctor", "--data", "mine"]
    output = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    hint = re.search(r"or create it: (.*) serve --data (\S+)", output)
    assert hint is not None, output
    assert hint[1].endswith(f" {ROOT / 'server.py'}")
    assert hint[2] == str(tmp_path / "mine")


def test_a_socket_can_be_inherited(tmp_path):
    """systemd passes file descriptor 3, LISTEN_FDS and LISTEN_PID."""
    import sys

    listening = socket.create_server(("127.0.0.1", 0))
    code = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.set_inheritable(3, True); "
        "os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid())); "
        "os.execv(sys.executable, [sys.executable, 'server.py', 'serve', '--data', sys.argv[2]])"
    )
    words = [sys.executable, "-c", code, str(listening.fileno()), str(tmp_path / "data")]
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        pass_fds=[listening.fileno()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        connection = http.client.HTTPConnection(*listening.getsockname(), timeout=120)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b"ok\n"
        connection.close()
    finally:
        process.terminate()
        process.communicate(timeout=120)
        listening.close()
    assert process.returncode == 0


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    """Return a certificate as server arguments and as a client's TLS context."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not here to make a certificate")
    folder = tmp_path_factory.mktemp("certificate")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=localhost", "-days", "2", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.create_default_context(cafile=str(cert))
    context.check_hostname = False
    return ("--tls-cert", str(cert), "--tls-key", str(key)), context


def test_cookies_are_secure_over_tls(start_server, certified):
    words, context = certified
    server = start_server("--sample", *words)
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=120)
    connection.request("GET", "/campaigns/1/")
    answer = connection.getresponse()
    answer.read()
    assert answer.headers["Set-Cookie"].endswith("; Secure")
    assert answer.headers["Set-Cookie"].startswith("__Secure-mq_last_1=")
    form = urlencode(dict(zip(("name", "password"), owner_credentials(server), strict=True)))
    connection.request("POST", "/admin/login", form, {**FORM, "Sec-Fetch-Site": "same-origin"})
    answer = connection.getresponse()
    answer.read()
    assert "; Secure" in answer.headers["Set-Cookie"]
    name, _, token = answer.headers["Set-Cookie"].partition(";")[0].partition("=")
    assert name == "__Host-mq_owner"
    assert "Path=/" in answer.headers["Set-Cookie"].split("; ")
    assert "domain" not in answer.headers["Set-Cookie"].lower()
    # A cookie name that a site without TLS could set gives no access.
    for cookie, status in ((name, 200), ("mq_owner", 303), ("__Secure-mq_owner", 303)):
        connection.request("GET", "/admin/", headers={"Cookie": f"{cookie}={token}"})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
    connection.close()
    assert server.stop() == 0


@pytest.mark.parametrize("kind", ["wire", "tornado"])
def test_every_response_over_tls_has_strict_transport_security(start_server, certified, kind):
    words, context = certified
    server = start_server("--sample", "--server", kind, *words)
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=120)
    for path, status in (
        ("/campaigns/1/", 200), ("/healthz", 200), ("/admin/", 303), ("/admin/login", 200),
        ("/banners/1", 404), ("/nowhere", 404), ("/events", 401), ("/static/marquee.css", 200),
    ):  # fmt: skip
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status, path
        assert answer.headers.get_all("Strict-Transport-Security") == ["max-age=31536000"], path
    if kind == "wire":  # and errors of the HTTP server itself
        connection.request("GET", "/", headers={"Content-Length": "x"})
        answer = connection.getresponse()
        assert answer.status == 400 and answer.headers["Strict-Transport-Security"]
    connection.close()
    assert server.stop() == 0
    server = start_server("--hsts-seconds", "0", "--server", kind, *words)
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, context=context, timeout=120)
    connection.request("GET", "/healthz")
    assert connection.getresponse().headers["Strict-Transport-Security"] is None
    connection.close()
    server.stop()


def test_a_tls_server_requires_tls_1_2_or_later(start_server, certified):
    words, context = certified
    server = start_server(*words)
    with contextlib.closing(socket.create_connection(("127.0.0.1", server.port), 10)) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert not plain.recv(1000).startswith(b"HTTP")
    versions = {}
    for name in ("TLSv1_1", "TLSv1_2", "TLSv1_3"):
        version = ssl.TLSVersion[name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = version
        context.set_ciphers("ALL:@SECLEVEL=0")
        with contextlib.closing(socket.create_connection(("127.0.0.1", server.port), 10)) as there:
            try:
                with context.wrap_socket(there, server_hostname="localhost") as tls:
                    versions[name] = tls.version()
            except (ssl.SSLError, ConnectionError):
                versions[name] = None
    assert versions == {"TLSv1_1": None, "TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}
    server.stop()


def test_x_forwarded_proto_of_a_trusted_proxy_makes_cookies_secure(start_server):
    server = start_server("--sample", "--proxies", "127.0.0.1")
    answer = server.request("/campaigns/1/", X_Forwarded_Proto="https")
    assert answer.headers["Set-Cookie"].endswith("; Secure")
    server.stop()
    server = start_server()
    answer = server.request("/campaigns/1/", X_Forwarded_Proto="https")
    assert not answer.headers["Set-Cookie"].endswith("; Secure")
