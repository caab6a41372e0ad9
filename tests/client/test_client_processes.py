"""The client in processes that fork, spawn, end early or cannot start a thread."""

import os
import subprocess
import sys

import pytest

from tests.support import ROOT
from tests.support.events.batch_server import BatchServer

PROGRAM_START = """
import atexit, logging, multiprocessing, os, sys, threading
sys.path.insert(0, "client")
import marquee_client
from marquee_client import Client
logging.basicConfig(format="%(message)s")
URL, TOKEN = os.environ["URL"], "mq_1_secret"
def send(name):
    return client.send("s", "c", name, {})
"""


@pytest.fixture
def server():
    with BatchServer() as server:
        yield server


def run_program(tmp_path, server, code: str, **environment: str) -> subprocess.CompletedProcess:
    """Run a program that must succeed and print no token."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM_START + code)
    done = subprocess.run(
        [sys.executable, program],
        cwd=ROOT,
        env={**os.environ, "URL": server.url, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "mq_1_secret" not in done.stderr
    return done


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_events_of_a_multiprocessing_child_are_sent_when_it_ends(tmp_path, server, method):
    run_program(
        tmp_path,
        server,
        f"""
client = Client(URL, TOKEN, linger=60)
def job():
    assert send("child")
if __name__ == "__main__":
    assert send("parent")
    process = multiprocessing.get_context({method!r}).Process(target=job)
    process.start()
    process.join()
    assert process.exitcode == 0
""",
    )
    assert sorted(server.names()) == ["child", "parent"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_events_of_a_pool_of_processes_are_sent_when_it_is_shut_down(tmp_path, server, method):
    run_program(
        tmp_path,
        server,
        f"""
import concurrent.futures
client = Client(URL, TOKEN, linger=60)
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        assert all(pool.map(send, map(str, range(20))))
""",
    )
    assert sorted(server.names(), key=int) == [str(number) for number in range(20)]


def test_grandchild_process_sends_its_events(tmp_path, server):
    run_program(
        tmp_path,
        server,
        """
fork = multiprocessing.get_context("fork")
client = Client(URL, TOKEN, linger=60)
def outer():
    send("outer")
    process = fork.Process(target=send, args=("inner",))
    process.start()
    process.join()
    send("outer again")
process = fork.Process(target=outer)
process.start()
process.join()
""",
    )
    assert sorted(server.names()) == ["inner", "outer", "outer again"]


def test_failing_child_process_sends_its_events(tmp_path, server):
    run_program(
        tmp_path,
        server,
        """
client = Client(URL, TOKEN, linger=60)
def job():
    send("child")
    raise SystemExit(3)
process = multiprocessing.get_context("fork").Process(target=job)
process.start()
process.join()
assert process.exitcode == 3
""",
    )
    assert server.names() == ["child"]


def test_client_can_be_argument_of_spawned_process(tmp_path, server):
    run_program(
        tmp_path,
        server,
        """
def job(client):
    assert client.send("s", "c", "child", {})
if __name__ == "__main__":
    client = Client(URL, TOKEN, linger=60)
    process = multiprocessing.get_context("spawn").Process(target=job, args=(client,))
    process.start()
    process.join()
    assert process.exitcode == 0
""",
    )
    assert server.names() == ["child"]


def test_forked_worker_sends_its_events_on_sys_exit(tmp_path, server):
    """As in gunicorn, whose parent process has created and used the client."""
    run_program(
        tmp_path,
        server,
        """
client = Client(URL, TOKEN, linger=0)
send("parent")
assert client.flush(30)
child = os.fork()
if child == 0:
    assert client.counts == marquee_client.Counts(0, 0, 0, 0, 0)
    send("child")
    sys.exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
send("parent again")
""",
    )
    assert sorted(server.names()) == ["child", "parent", "parent again"]


def test_fork_while_threads_send_neither_hangs_nor_repeats(tmp_path, server):
    run_program(
        tmp_path,
        server,
        """
client = Client(URL, TOKEN, linger=0)
def work(number):
    for each in range(100):
        send(f"parent {number} {each}")
threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
for number in range(5):
    child = os.fork()
    if child == 0:
        send(f"child {number}")
        os._exit(0 if client.close(60) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
for thread in threads:
    thread.join()
""",
    )
    names = server.names()
    assert len(names) == len(set(names)) == 305


def test_events_sent_at_exit_are_stored_or_refused(tmp_path, server):
    """Exit functions registered before the client's run after it, when `send` returns False."""
    done = run_program(
        tmp_path,
        server,
        """
client = Client(URL, TOKEN, linger=60)
atexit.register(lambda: print(send("registered later")))
atexit._run_exitfuncs()
print(send("too late"))
""",
    )
    assert done.stdout.split() == ["True", "False"]
    assert "the client is closed" in done.stderr
    assert server.names() == ["registered later"]


def test_exit_sends_events_without_a_thread(tmp_path, server):
    """Python 3.12 and later start no thread once exit functions run."""
    run_program(
        tmp_path,
        server,
        """
client = Client(URL, TOKEN)
def start(self):
    raise RuntimeError("can't create new thread at interpreter shutdown")
def at_exit():
    threading.Thread.start = start
    for number in range(250):
        assert send(str(number))
atexit.register(at_exit)
""",
    )
    assert server.names() == [str(number) for number in range(250)]


def test_dead_server_delays_exit_by_at_most_exit_seconds(tmp_path, server):
    done = run_program(
        tmp_path,
        server,
        """
clients = [Client("http://127.0.0.1:9", TOKEN, exit_seconds=0.5) for _ in range(20)]
for client in clients:
    send("lost")
def start(self):
    raise RuntimeError("can't start new thread")
threading.Thread.start = start
client = Client("http://127.0.0.1:9", TOKEN, exit_seconds=0.5)
send("lost")
""",
    )
    assert done.stderr.count("closed with 1 events that were not sent") == 21


def test_daemon_thread_may_send_during_exit(tmp_path, server):
    done = run_program(
        tmp_path,
        server,
        """
client = Client(URL, TOKEN, linger=0)
def work():
    while True:
        send("x")
threading.Thread(target=work, daemon=True).start()
while not client.counts.accepted:
    pass
""",
    )
    assert "Traceback" not in done.stderr


def test_thread_start_is_retried(tmp_path, server):
    done = run_program(
        tmp_path,
        server,
        """
client = Client(URL, TOKEN)
real = threading.Thread.start
def fail(self):
    raise RuntimeError("can't start new thread")
threading.Thread.start = fail
assert send("first") and send("second")
assert client.counts.waiting == 2
threading.Thread.start = real
assert send("third")
assert client.flush(60)
assert client.counts.accepted == 3, client.counts
""",
    )
    assert server.names() == ["first", "second", "third"]
    assert done.stderr.count("no thread can be started") == 1


def test_flush_sends_without_a_thread(tmp_path, server):
    server.script = [(503, {}), (413, {})]
    run_program(
        tmp_path,
        server,
        """
client = Client(URL, TOKEN)
def fail(self):
    raise RuntimeError("can't start new thread")
threading.Thread.start = fail
assert all(send(str(number)) for number in range(10))
assert client.flush(60)
assert client.counts == marquee_client.Counts(10, 0, 0, 0, 0), client.counts
""",
    )
    assert [len(batch) for batch in server.batches] == [10, 10, 5, 5]


def test_idle_thread_ends_and_restarts(tmp_path, server):
    run_program(
        tmp_path,
        server,
        """
marquee_client._IDLE_SECONDS = 0.01
client = Client(URL, TOKEN, linger=0)
for number in range(3):
    assert send(str(number))
    thread = client._thread
    assert client.flush(60)
    if thread is not None:
        thread.join()
    assert client._thread is None
""",
    )
    assert server.names() == ["0", "1", "2"]
