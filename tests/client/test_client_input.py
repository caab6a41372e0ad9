"""Arguments, environments, proxies and responses of the client."""

import email.utils
import logging
import pickle
import socket
import threading
import time
from datetime import UTC, date, datetime, timedelta, timezone

import marquee_client
import pytest
from marquee_client import Client, Counts

from tests.support.events.batch_server import BatchServer, KeepAliveBatchHandler

SECRET = "mq_1_verysecret"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def closed_clients():
    """Close the clients of a test and wait for their threads."""
    yield
    for client in list(marquee_client._clients):
        client.close(0)
        if thread := client._thread:
            thread.join(60)


@pytest.fixture
def server():
    with BatchServer() as server:
        yield server


def client_of(server, url: str = "", **options: object) -> Client:
    return Client(url or server.url, SECRET, **{"exit_seconds": 0, **options})


def send(client: Client, name: str = "x", **options: object) -> bool:
    return client.send("s", "c", name, {}, **options)


# URLs


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "path"),
    [
        ("http://[::1]", "::1", 80, "[::1]", ""),
        ("http://[::1]/", "::1", 80, "[::1]", ""),
        ("https://[2001:DB8::abcd]/", "2001:db8::abcd", 443, "[2001:db8::abcd]", ""),
        ("https://[::1]:443", "::1", 443, "[::1]", ""),
        ("http://[::1]:8000", "::1", 8000, "[::1]:8000", ""),
        ("http://[fe80::1%25eth0]:80", "fe80::1%eth0", 80, "[fe80::1]", ""),
        ("http://[fe80::1%eth0]", "fe80::1%eth0", 80, "[fe80::1]", ""),
        ("http://www.example.com", "www.example.com", 80, "www.example.com", ""),
        ("HTTPS://WWW.Example.com:443/", "www.example.com", 443, "www.example.com", ""),
        ("http://www.example.com:443", "www.example.com", 443, "www.example.com:443", ""),
        ("http://www.example.com:", "www.example.com", 80, "www.example.com", ""),
        (" https://www.example.com\n", "www.example.com", 443, "www.example.com", ""),
        ("https://example.com/a//b/", "example.com", 443, "example.com", "/a//b"),
        ("https://example.com/caf\u00e9/%41", "example.com", 443, "example.com", "/caf%C3%A9/%41"),
        ("http://b\u00fccher.example", "xn--bcher-kva.example", 80, "xn--bcher-kva.example", ""),
        ("http://marquee_web:8000", "marquee_web", 8000, "marquee_web:8000", ""),
        ("http://127.0.0.1:8000///", "127.0.0.1", 8000, "127.0.0.1:8000", ""),
    ],
)
def test_url_is_parsed(monkeypatch, url, host, port, authority, path):
    addresses = []

    def connect(address, *_, **__):
        addresses.append(address)
        raise OSError("enough")

    monkeypatch.setattr(socket, "create_connection", connect)
    client = client_of(None, url, timeout=1)
    send(client)
    assert not client.flush(0.5)
    assert set(addresses) == {(host, port)}
    assert client._headers["Host"] == authority
    assert client._server.path == path + "/api/v1/events"
    client.close(0)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "marquee.example.com",
        "marquee.example.com:8000",
        "//marquee.example.com",
        "http:marquee.example.com",
        "http:///events",
        "http://",
        "http://:8000",
        "ftp://x",
        "http://x:99999",
        "http://x:0",
        "http://x:port",
        "http://[::1",
        "http://[::1]x",
        "http://a..b",
        "http://user:hunter2@x",
        "http://hunter2:a/b@x",
        "http://hunter2@x",
        "https://x/?token=hunter2",
        "https://x/?",
        "https://x#hunter2",
        "http://x y",
        "http://x\ny",
        "http://x/\x00",
        "http://x\\y",
    ],
)
def test_invalid_url_is_refused_without_repeating_it(url):
    with pytest.raises(ValueError, match="url") as error:
        Client(url, SECRET)
    assert "hunter2" not in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize("url", [None, b"http://x", 80])
def test_url_of_wrong_type_is_refused(url):
    with pytest.raises(TypeError, match="url must be a str"):
        Client(url, SECRET)


# Tokens


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {}\t", "\n{}\n\n"])
def test_whitespace_around_token_is_removed(server, around):
    client = Client(server.url, around.format(SECRET))
    send(client)
    assert client.close(60)
    assert server.request_heads[0][1]["Authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    "inside",
    [
        "Bearer {}",
        "{}\nX-Other: 1",
        "{}\r\n\r\nx",
        "{}\0",
        "{} {}",
        "{}\u00e9",
        "\ufeff{}",
        "{}\x7f",
    ],
)
def test_invalid_token_is_refused_without_repeating_it(caplog, inside):
    with pytest.raises(ValueError, match="token has") as error:
        Client("http://127.0.0.1:9", inside.format(SECRET, SECRET))
    assert SECRET not in repr(error.value)
    assert SECRET not in caplog.text


def test_missing_token_is_refused():
    with pytest.raises(ValueError, match="token is empty"):
        Client("http://127.0.0.1:9", "\n")
    with pytest.raises(TypeError, match="token must be a str"):
        Client("http://127.0.0.1:9", None)


def test_token_is_in_no_log_and_no_repr(caplog, server):
    caplog.set_level(logging.DEBUG)
    server.script = [(401, {}), (400, {}), (202, {"Body": "no JSON"}), (0, {}), (307, {})]
    client = client_of(server, linger=0, on_reject=lambda *_: 1 / 0)
    for _ in range(3):
        send(client)
    assert client.close(60)
    assert SECRET not in caplog.text
    assert SECRET not in repr(client)


# Events


@pytest.mark.parametrize("data", [{"a": float("nan")}, {"a": float("inf")}, {"a": "\ud800"}])
def test_data_that_is_not_json_is_refused(data):
    client = Client("http://127.0.0.1:9", SECRET, exit_seconds=0)
    with pytest.raises(ValueError, match=r"JSON|surrogate"):
        client.send("s", "c", "n", data)
    assert client.counts == Counts(0, 0, 0, 0, 0)


@pytest.mark.parametrize("data", [{"a": object()}, {"a": {1, 2}}, {"a": b"x"}, {(1, 2): 3}, None])
def test_data_of_unsupported_type_is_refused(data):
    client = Client("http://127.0.0.1:9", SECRET, exit_seconds=0)
    with pytest.raises(TypeError):
        client.send("s", "c", "n", data)


def test_circular_or_deep_data_is_refused():
    client = Client("http://127.0.0.1:9", SECRET, exit_seconds=0)
    circle: dict = {}
    circle["a"] = circle
    deep: dict = {}
    for _ in range(100_000):
        deep = {"a": deep}
    for data in (circle, deep):
        with pytest.raises(ValueError, match=r"[Cc]ircular|deep"):
            client.send("s", "c", "n", data)
    while deep:  # freeing it at once would recurse
        deep = deep["a"]


def test_data_may_change_after_send(server):
    rejected = []
    client = client_of(server, linger=60, on_reject=lambda event, _: rejected.append(event))
    data = {"a": [1]}
    server.script = [(400, {})]
    client.send("s", "c", "n", data)
    data["a"].append(2)
    assert client.close(60)
    assert rejected[0]["data"] == server.batches[0][0]["data"] == {"a": [1]}


@pytest.mark.parametrize(
    ("timestamp", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05.000000Z"),
        (
            datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))),
            "2026-01-02T01:00:00.000000Z",
        ),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_a_timestamp_is_sent_in_utc(server, timestamp, text):
    client = client_of(server)
    send(client, timestamp=timestamp)
    assert client.close(60)
    assert server.batches[0][0]["timestamp"] == text


@pytest.mark.parametrize("timestamp", [date(2026, 1, 1), "2026-01-01", 1_700_000_000.0, 0])
def test_timestamp_of_wrong_type_is_refused(timestamp):
    client = Client("http://127.0.0.1:9", SECRET, exit_seconds=0)
    with pytest.raises(TypeError, match="timestamp must be a datetime"):
        send(client, timestamp=timestamp)


def test_a_timestamp_before_the_first_year_is_refused():
    client = Client("http://127.0.0.1:9", SECRET, exit_seconds=0)
    with pytest.raises(ValueError, match="timestamp"):
        send(client, timestamp=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))))


def test_the_queue_is_bounded_in_bytes():
    client = Client("http://127.0.0.1:9", SECRET, exit_seconds=0, linger=60)
    text = "x" * (10 << 20)
    accepted = [client.send("s", "c", "n", {"text": text}) for _ in range(8)]
    assert accepted == [True] * 6 + [False] * 2
    assert client.counts.dropped == 2


def test_large_events_are_sent_in_small_batches(server):
    client = client_of(server, linger=60)
    text = "\U0001f600" * 25_000  # 100 KB in UTF-8
    for _ in range(12):
        client.send("s", "c", "n", {"text": text})
    assert client.close(60)
    assert all(len(batch) <= 5 for batch in server.batches)
    assert client.counts.accepted == 12


# Responses


@pytest.mark.parametrize("status", [204, 200, 301, 302, 307, 401, 403, 404, 405, 429, 500, 502])
def test_events_are_retried_after_temporary_status(caplog, server, status):
    location = {"Location": "https://elsewhere.example/"} if 300 <= status < 400 else {}
    server.script = [(status, location)]
    client = client_of(server)
    send(client)
    assert client.close(60)
    assert client.counts == Counts(1, 0, 0, 0, 0)
    assert str(status) in caplog.text
    assert not location or "https://elsewhere.example/" in caplog.text


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_event_is_given_up_after_permanent_status(server, status):
    server.script = [(status, {})]
    client = client_of(server)
    send(client)
    assert client.close(60)
    assert client.counts == Counts(0, 0, 1, 0, 0)


@pytest.mark.parametrize(
    "body",
    ["", "<html>", "[]", "{}", '{"results": 1}', '{"results": []}', '{"results": [{}]}',
     '{"results": [{"status": "refused"}]}', '{"results": ["x"]}', "\xff", "[" * 100_000],
)  # fmt: skip
def test_foreign_response_is_no_acknowledgement(server, body):
    server.script = [(202, {"Body": body})]
    client = client_of(server)
    send(client)
    assert client.close(60)
    assert client.counts == Counts(1, 0, 0, 0, 0)
    assert server.batches[0] == server.batches[1]


class DateFromNow(float):
    """Seconds from now, converted to an HTTP date by `str()`."""

    def __str__(self) -> str:
        return email.utils.formatdate(time.time() + float(self), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "min_seconds", "max_seconds"),
    [
        ({"Retry-After": "7"}, 7, 7),
        ({"Retry-After": " 7 "}, 7, 7),
        ({"Retry-After": "99999999999999999999"}, 300, 300),
        ({"Retry-After": DateFromNow(60)}, 20, 60),
        ({"Retry-After": DateFromNow(-60)}, 0, 0),
        ({"Retry-After": DateFromNow(7230), "Date": DateFromNow(7200)}, 29, 31),
        ({"Retry-After": "Fri, 31 Feb 2026 25:00:00 GMT"}, 0, 0),
        ({"Retry-After": "-5"}, 0, 0),
        ({"Retry-After": "nan"}, 0, 0),
        ({"Retry-After": "soon"}, 0, 0),
        ({"Retry-After": "\u00b2"}, 0, 0),
        ({"Retry-After": ""}, 0, 0),
        ({}, 0, 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers, min_seconds, max_seconds):
    message = marquee_client.http.client.HTTPMessage()
    for name, value in headers.items():
        message[name] = str(value)
    assert min_seconds <= marquee_client._seconds(message) <= max_seconds


def test_connection_is_reused_and_reopened_after_close(caplog):
    with BatchServer(KeepAliveBatchHandler) as server:
        client = client_of(server, linger=0)
        for _ in range(3):
            send(client)
            assert client.flush(60)
        assert len(server.connections) == 1
        server.closes_connections = True  # unannounced: no `Connection: close`
        for _ in range(3):
            send(client)
            assert client.flush(60)
        assert client.close(60)
        assert client.counts == Counts(6, 0, 0, 0, 0)
        assert len(server.batches) == 6
    assert not caplog.records


def test_large_event_rejected_while_sending_is_given_up():
    """nginx sends 413 after the request head and closes while the client still sends."""
    listener = socket.create_server(("127.0.0.1", 0))
    response = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while connection.recv(65_536).find(b"\r\n\r\n") < 0:
                    pass
                connection.sendall(response)
                connection.shutdown(socket.SHUT_WR)
                time.sleep(
                    0.01
                )  # closing before more of the body arrives, which resets the connection

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    client = Client(url, SECRET, exit_seconds=0)
    client.send("s", "c", "n", {"text": "x" * (30 << 20)})
    assert client.flush(60)
    assert client.counts == Counts(0, 0, 1, 0, 0)
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_on_reject_may_use_the_client(server):
    server.script = [(400, {})]

    def send_again(event, _):
        assert not client.flush(1)
        client.send(event["session_id"], event["category"], "again", {})
        raise SystemExit

    client = client_of(server, on_reject=send_again, linger=0)
    send(client)
    while client.counts.accepted < 1:
        time.sleep(0.01)
    assert client.close(60)
    assert server.names() == ["x", "again"]


def test_flush_returns_while_other_threads_send(server):
    client = client_of(server, linger=60)
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            send(client, "other")
            time.sleep(0.001)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(5):
            send(client)
            assert client.flush(60)
    finally:
        stop.set()
        thread.join()
        client.close(60)


def test_unpickled_client_is_independent(server):
    client = client_of(server, linger=60, batch=7)
    send(client)
    copy = pickle.loads(pickle.dumps(client))
    assert copy.counts == Counts(0, 0, 0, 0, 0)
    send(copy, "copy")
    assert copy.close(60)
    assert client.close(60)
    assert server.names() == ["copy", "x"]


# Proxies


def test_proxy_of_environment_is_used(monkeypatch, server):
    monkeypatch.setenv("HTTP_PROXY", server.url.replace("//", "//user:p%40ss@"))
    client = client_of(server, "http://marquee.invalid/prefix")
    send(client)
    assert client.close(60)
    path, headers = server.request_heads[0]
    assert path == "http://marquee.invalid/prefix/api/v1/events"
    assert headers["Host"] == "marquee.invalid"
    assert headers["Proxy-Authorization"] == "Basic dXNlcjpwQHNz"
    assert headers["Authorization"] == f"Bearer {SECRET}"


def test_no_proxy_setting_is_honoured(monkeypatch, server):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    client = client_of(server)
    send(client)
    assert client.close(60)
    assert server.request_heads[0][0] == "/api/v1/events"


def test_https_proxy_gets_connect_request_without_token(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{port}")
        client = client_of(None, "https://marquee.invalid", linger=0)
        send(client)
        connection, _ = listener.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(65_536)
        assert head.startswith(b"CONNECT marquee.invalid:443 HTTP/1.")
        assert SECRET.encode() not in head
        client.close(0)


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "http://:80", "http://hunter2:x@[::"])
def test_unsupported_proxy_is_refused_without_repeating_it(monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ValueError, match="HTTP_PROXY") as error:
        Client("http://marquee.invalid", SECRET)
    assert "hunter2" not in str(error.value)
