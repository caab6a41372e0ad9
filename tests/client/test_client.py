"""The Python client against a server that is killed and restarted, and against failing servers."""

import contextlib
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from uuid import UUID

import pytest
from marquee_client import Client, Counts, uuid7

from tests.support import ROOT
from tests.support.events.batch_server import BatchServer

SESSION = "e2085be5-9137-4e4e-80b5-f1ffddc25423"
PAGE_DATA = {"host": "www.example.com", "path": "/"}


def send(client: Client, number: int = 0) -> bool:
    data = {**PAGE_DATA, "number": number}
    return client.send(SESSION, "page interaction", "pageview", data)


@pytest.fixture
def server_and_token(start_server):
    """Return a server with sample data, and a token with the scopes `write` and `read`."""
    server = start_server("--sample")
    time.sleep(0.2)
    token = re.search(r"mq_[\w-]+", "".join(server.stdout_lines))[0]
    return server, token


def stored_events(server) -> list[tuple[object, int]]:
    """Return sender_id and number of the stored events in order of arrival."""
    with contextlib.closing(
        sqlite3.connect(f"file:{server.data}/marquee.db?mode=ro", uri=True)
    ) as db:
        rows = db.execute(
            "SELECT sender, data FROM event WHERE session = ? ORDER BY id", (SESSION,)
        )
        return [(sender, json.loads(data).get("number")) for sender, data in rows]


def test_events_are_batched_and_stored(server_and_token):
    server, token = server_and_token
    with Client(f"http://127.0.0.1:{server.port}", token) as client:
        for number in range(250):
            assert send(client, number)
    assert client.counts == Counts(250, 0, 0, 0, 0)
    found = stored_events(server)
    assert [number for _, number in found] == list(range(250))
    assert len({sender for sender, _ in found}) == 250


def test_killed_and_restarted_server_stores_each_event_once(server_and_token, start_server):
    server, token = server_and_token
    client = Client(f"http://127.0.0.1:{server.port}", token, batch=20, timeout=2)
    stop = threading.Event()
    sent = []

    def work() -> None:
        while not stop.is_set():
            if send(client, len(sent)):
                sent.append(1)
            time.sleep(0.001)

    worker = threading.Thread(target=work)
    worker.start()
    port = str(server.port)
    for _ in range(3):
        time.sleep(0.5)
        server.stop(signal.SIGKILL)
        server = start_server("--port", port)
    time.sleep(0.3)
    stop.set()
    worker.join()
    assert client.close(30)
    counts = client.counts
    assert counts.rejected == counts.dropped == 0
    assert counts.accepted + counts.duplicate == len(sent)
    assert sorted(number for _, number in stored_events(server)) == list(range(len(sent)))


def test_on_reject_receives_rejected_events_and_others_are_stored(server_and_token):
    server, token = server_and_token
    rejected = []
    client = Client(
        f"http://127.0.0.1:{server.port}", token, on_reject=lambda *args: rejected.append(args)
    )
    send(client, 1)
    client.send(SESSION, "page interaction", "pageview", {"host": "no path"})
    send(client, 2)
    assert client.close()
    assert client.counts == Counts(2, 0, 1, 0, 0)
    ((event, errors),) = rejected
    assert event["data"] == {"host": "no path"}
    assert errors


def test_client_flushes_at_program_exit(server_and_token):
    server, token = server_and_token
    code = (
        "import sys; sys.path.insert(0, 'client'); from marquee_client import Client\n"
        f"client = Client('http://127.0.0.1:{server.port}', sys.argv[1], linger=60)\n"
        f"[client.send('{SESSION}', 'page interaction', 'pageview', "
        "{'host': 'h', 'path': '/'}) for _ in range(30)]"
    )
    subprocess.run([sys.executable, "-c", code, token], cwd=ROOT, check=True, timeout=120)
    assert len(stored_events(server)) == 30


@pytest.fixture
def batch_server():
    with BatchServer() as server:
        yield server


def client_of(server, **options: object) -> Client:
    return Client(f"http://127.0.0.1:{server.server_port}/", "mq_1_x", **options)


@pytest.mark.parametrize("first", [(503, {"Retry-After": "0"}), (500, {}), (429, {}), (0, {})])
def test_failed_batch_is_retried_with_same_sender_ids(batch_server, first):
    batch_server.script = [first]
    client = client_of(batch_server)
    send(client)
    assert client.close()
    assert client.counts.accepted == 1
    assert len(batch_server.batches) == 2
    assert batch_server.batches[0] == batch_server.batches[1]
    assert UUID(batch_server.batches[0][0]["sender_id"]).version == 7


def test_retry_waits_for_retry_after(batch_server):
    batch_server.script = [(503, {"Retry-After": "1"})]
    client = client_of(batch_server, linger=0)
    began = time.monotonic()
    send(client)
    while not client.counts.accepted:
        time.sleep(0.01)
    assert time.monotonic() - began > 0.9
    client.close()


def test_batch_rejected_as_too_large_is_halved(batch_server):
    batch_server.script = [(413, {}), (413, {})]
    client = client_of(batch_server, linger=60)
    for number in range(8):
        send(client, number)
    assert client.close()
    assert [len(batch) for batch in batch_server.batches] == [8, 4, 2, 2, 4]
    assert client.counts.accepted == 8


def test_invalid_batch_is_not_retried(batch_server):
    batch_server.script = [(400, {})]
    client = client_of(batch_server)
    send(client)
    assert client.close()
    assert client.counts == Counts(0, 0, 1, 0, 0)
    assert len(batch_server.batches) == 1


def test_send_does_not_block_and_counts_dropped_events():
    client = Client("http://127.0.0.1:9", "mq_1_x", capacity=100, timeout=1, exit_seconds=0.2)
    began = time.monotonic()
    assert [send(client) for _ in range(500)].count(True) == 100
    assert time.monotonic() - began < 60  # waiting for each of the 400 would take longer
    assert client.counts.dropped == 400
    assert not client.close()
    assert not send(client)
    assert client.counts.waiting == 100


def test_invalid_arguments_raise_at_the_call():
    client = Client("http://127.0.0.1:9", "mq_1_x", exit_seconds=0)
    with pytest.raises(ValueError, match="JSON"):
        client.send(SESSION, "a", "b", {"number": float("nan")})
    with pytest.raises(TypeError):
        client.send(SESSION, "a", "b", {"object": object()})
    with pytest.raises(ValueError, match="address"):
        Client("ftp://x", "mq_1_x")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_child_sends_only_its_own_events(batch_server):
    client = client_of(batch_server, linger=60)
    send(client, 1)
    time.sleep(0.1)
    child = os.fork()
    if child == 0:
        send(client, 2)
        os._exit(0 if client.close(5) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client.close()
    numbers = [event["data"]["number"] for batch in batch_server.batches for event in batch]
    assert sorted(numbers) == [1, 2]


def test_sender_ids_rise_with_time():
    first = uuid7()
    time.sleep(0.002)
    assert first < uuid7()
    assert UUID(first).version == 7
    assert UUID(first).variant == "specified in RFC 4122"
