"""What callers, environments, proxies and servers may hand to the client."""

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
    """No thread of a test's client is left to the next."""
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


def send(client: Client, name: str = "x", **more: object) -> bool:
    return client.send("s", "c", name, {}, **more)


# Addresses


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
def test_an_address_is_understood(monkeypatch, url, host, port, authority, path):
    asked = []

    def connect(address, *_, **__):
        asked.append(address)
        raise OSError("enough")

    monkeypatch.setattr(socket, "create_connection", connect)
    client = client_of(None, url, timeout=1)
    send(client)
    assert not client.flush(0.5)
    assert set(asked) == {(host, port)}
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
def test_an_address_that_cannot_be_right_is_refused_without_repeating_it(url):
    with pytest.raises(ValueError, match="url") as error:
        Client(url, SECRET)
    assert "hunter2" not in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize("url", [None, b"http://x", 80])
def test_an_address_of_another_type_is_refused(url):
    with pytest.raises(TypeError, match="url must be a str"):
        Client(url, SECRET)


# Tokens


@pytest.mark.parametrize("around", ["{}\n", "{}\r\n", " {}\t", "\n{}\n\n"])
def test_white_space_around_a_token_is_removed(server, around):
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
def test_a_token_that_fits_no_header_is_refused_without_repeating_it(caplog, inside):
    with pytest.raises(ValueError, match="token has") as error:
        Client("http://127.0.0.1:9", inside.format(SECRET, SECRET))
    assert SECRET not in repr(error.value)
    assert SECRET not in caplog.text


def test_no_token_is_refused():
    with pytest.raises(ValueError, match="token is empty"):
        Client("http://127.0.0.1:9", "\n")
    with pytest.raises(TypeError, match="token must be a str"):
        Client("http://127.0.0.1:9", None)


def test_no_log_and_no_representation_repeats_a_token(caplog, server):
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
def test_what_is_no_json_is_refused(data):
    client = Client("http://127.0.0.1:9", SECRET, exit_seconds=0)
    with pytest.raises(ValueError, match=r"JSON|surrogate"):
        client.send("s", "c", "n", data)
    assert client.counts == Counts(0, 0, 0, 0, 0)


@pytest.mark.parametrize("data", [{"a": object()}, {"a": {1, 2}}, {"a": b"x"}, {(1, 2): 3}, None])
def test_data_of_a_type_that_json_lacks_is_refused(data):
    client = Client("http://127.0.0.1:9", SECRET, exit_seconds=0)
    with pytest.raises(TypeError):
        client.send("s", "c", "n", data)


def test_data_that_holds_itself_or_is_too_deep_is_refused():
    client = Client("http://127.0.0.1:9", SECRET, exit_seconds=0)
    circle: dict = {}
    circle["a"] = circle
    deep: dict = {}
    for _ in range(100_000):
        deep = {"a": deep}
    for data in (circle, deep):
        with pytest.raises(ValueError, match=r"[Cc]ircular|deep"):
            client.send("s", "c", "n", data)
    while deep:  # taken apart by hand: freeing it at once would recurse
        deep = deep["a"]


def test_data_may_change_after_send(server):
    seen = []
    client = client_of(server, linger=60, on_reject=lambda event, _: seen.append(event))
    data = {"a": [1]}
    server.script = [(400, {})]
    client.send("s", "c", "n", data)
    data["a"].append(2)
    assert client.close(60)
    assert seen[0]["data"] == server.batches[0][0]["data"] == {"a": [1]}


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 2, 3, 4, 5), "2026-01-02T03:04:05.000000Z"),
        (
            datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=2))),
            "2026-01-02T01:00:00.000000Z",
        ),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_a_timestamp_is_sent_in_utc(server, moment, text):
    client = client_of(server)
    send(client, timestamp=moment)
    assert client.close(60)
    assert server.batches[0][0]["timestamp"] == text


@pytest.mark.parametrize("moment", [date(2026, 1, 1), "2026-01-01", 1_700_000_000.0, 0])
def test_a_timestamp_of_another_type_is_refused(moment):
    client = Client("http://127.0.0.1:9", SECRET, exit_seconds=0)
    with pytest.raises(TypeError, match="timestamp must be a datetime"):
        send(client, timestamp=moment)


def test_a_timestamp_before_the_first_year_is_refused():
    client = Client("http://127.0.0.1:9", SECRET, exit_seconds=0)
    with pytest.raises(ValueError, match="timestamp"):
        send(client, timestamp=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))))


def test_the_queue_is_bounded_in_bytes():
    client = Client("http://127.0.0.1:9", SECRET, exit_seconds=0, linger=60)
    text = "x" * (10 << 20)
    taken = [client.send("s", "c", "n", {"text": text}) for _ in range(8)]
    assert taken == [True] * 6 + [False] * 2
    assert client.counts.dropped == 2


def test_large_events_go_in_small_batches(server):
    client = client_of(server, linger=60)
    text = "\U0001f600" * 25_000  # 100 KB in UTF-8
    for _ in range(12):
        client.send("s", "c", "n", {"text": text})
    assert client.close(60)
    assert all(len(batch) <= 5 for batch in server.batches)
    assert client.counts.accepted == 12


# Answers


@pytest.mark.parametrize("status", [204, 200, 301, 302, 307, 401, 403, 404, 405, 429, 500, 502])
def test_events_wait_where_another_time_may_be_better(caplog, server, status):
    location = {"Location": "https://elsewhere.example/"} if 300 <= status < 400 else {}
    server.script = [(status, location)]
    client = client_of(server)
    send(client)
    assert client.close(60)
    assert client.counts == Counts(1, 0, 0, 0, 0)
    assert str(status) in caplog.text
    assert not location or "https://elsewhere.example/" in caplog.text


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_an_event_that_the_server_never_accepts_is_given_up(server, status):
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
def test_an_answer_that_is_not_marquees_is_no_acknowledgement(server, body):
    server.script = [(202, {"Body": body})]
    client = client_of(server)
    send(client)
    assert client.close(60)
    assert client.counts == Counts(1, 0, 0, 0, 0)
    assert server.batches[0] == server.batches[1]


class Ahead(float):
    """Seconds from the moment of the test, which becomes a date then."""

    def __str__(self) -> str:
        return email.utils.formatdate(time.time() + float(self), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "least", "most"),
    [
        ({"Retry-After": "7"}, 7, 7),
        ({"Retry-After": " 7 "}, 7, 7),
        ({"Retry-After": "99999999999999999999"}, 300, 300),
        ({"Retry-After": Ahead(60)}, 20, 60),
        ({"Retry-After": Ahead(-60)}, 0, 0),
        ({"Retry-After": Ahead(7230), "Date": Ahead(7200)}, 29, 31),
        ({"Retry-After": "Fri, 31 Feb 2026 25:00:00 GMT"}, 0, 0),
        ({"Retry-After": "-5"}, 0, 0),
        ({"Retry-After": "nan"}, 0, 0),
        ({"Retry-After": "soon"}, 0, 0),
        ({"Retry-After": "\u00b2"}, 0, 0),
        ({"Retry-After": ""}, 0, 0),
        ({}, 0, 0),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers, least, most):
    message = marquee_client.http.client.HTTPMessage()
    for name, value in headers.items():
        message[name] = str(value)
    assert least <= marquee_client._seconds(message) <= most


def test_a_connection_is_kept_and_made_anew_where_the_server_closed_it(caplog):
    with BatchServer(KeepAliveBatchHandler) as server:
        client = client_of(server, linger=0)
        for _ in range(3):
            send(client)
            assert client.flush(60)
        assert len(server.connections) == 1
        server.closes_connections = True  # without a word: `Connection: close` is not sent
        for _ in range(3):
            send(client)
            assert client.flush(60)
        assert client.close(60)
        assert client.counts == Counts(6, 0, 0, 0, 0)
        assert len(server.batches) == 6
    assert not caplog.records


def test_a_large_event_refused_before_it_is_read_holds_up_no_other():
    """nginx answers 413 from the head and closes, while the client still sends."""
    listener = socket.create_server(("127.0.0.1", 0))
    answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while connection.recv(65_536).find(b"\r\n\r\n") < 0:
                    pass
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                time.sleep(0.01)  # some of the body is on its way: closing now resets

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

    def again(event, _):
        assert not client.flush(1)
        client.send(event["session_id"], event["category"], "again", {})
        raise SystemExit

    client = client_of(server, on_reject=again, linger=0)
    send(client)
    while client.counts.accepted < 1:
        time.sleep(0.01)
    assert client.close(60)
    assert server.names() == ["x", "again"]


def test_flush_is_done_although_others_go_on_sending(server):
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


def test_a_copy_by_pickle_is_a_client_of_its_own(server):
    client = client_of(server, linger=60, batch=7)
    send(client)
    copy = pickle.loads(pickle.dumps(client))
    assert copy.counts == Counts(0, 0, 0, 0, 0)
    send(copy, "copy")
    assert copy.close(60)
    assert client.close(60)
    assert server.names() == ["copy", "x"]


# Proxies


def test_a_proxy_of_the_environment_is_used(monkeypatch, server):
    monkeypatch.setenv("HTTP_PROXY", server.url.replace("//", "//user:p%40ss@"))
    client = client_of(server, "http://marquee.invalid/prefix")
    send(client)
    assert client.close(60)
    path, headers = server.request_heads[0]
    assert path == "http://marquee.invalid/prefix/api/v1/events"
    assert headers["Host"] == "marquee.invalid"
    assert headers["Proxy-Authorization"] == "Basic dXNlcjpwQHNz"
    assert headers["Authorization"] == f"Bearer {SECRET}"


def test_a_server_that_no_proxy_names_is_reached_directly(monkeypatch, server):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    client = client_of(server)
    send(client)
    assert client.close(60)
    assert server.request_heads[0][0] == "/api/v1/events"


def test_over_tls_a_proxy_is_asked_for_a_tunnel_and_gets_no_token(monkeypatch):
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
def test_a_proxy_that_cannot_be_used_is_refused_without_repeating_it(monkeypatch, proxy):
    monkeypatch.setenv("http_proxy", proxy)
    with pytest.raises(ValueError, match="HTTP_PROXY") as error:
        Client("http://marquee.invalid", SECRET)
    assert "hunter2" not in str(error.value)
