"""TLS, Unix sockets, inherited sockets and forwarding fields of proxies."""

import fcntl
import os
import socket
import ssl
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.web import Application, RequestHandler

from httpserver import FastRoute, Request, Response, Server, ServerLimits, bind_tcp, bind_unix
from tests.support import ROOT
from tests.support.httpserver.echo_application import FAST_ROUTES, echo_application
from tests.support.httpserver.raw_client import (
    RawClient,
    RawResponse,
    build_get,
    build_request,
    parse_responses,
)
from tests.support.httpserver.server_thread import RunningServer, ServerThread


def who(asked: Request) -> Response:
    return Response(200, (), f"{asked.client_address} {asked.secure}".encode())


class ClientNameHandler(RequestHandler):
    def get(self) -> None:
        self.write(f"{self.request.remote_ip} {self.request.protocol == 'https'}")


class LargeTransferHandler(RequestHandler):
    async def get(self) -> None:
        for _ in range(100):
            self.write(b"x" * 20_000)
            await self.flush()

    def post(self) -> None:
        self.write(str(len(self.request.body)))


def serve(stage: ServerThread, **options: object) -> RunningServer:
    app = echo_application()
    app.add_handlers(
        r".*", [(r"/app/who", ClientNameHandler), (r"/app/large", LargeTransferHandler)]
    )
    return stage.serve(app, [*FAST_ROUTES, FastRoute("GET", "/fast/who", who)], **options)  # type: ignore[arg-type]


# TLS.


@pytest.fixture(scope="module")
def certificate() -> Iterator[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        pair = (f"{folder}/cert.pem", f"{folder}/key.pem")
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
        command += ["ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
        command += ["-addext", "subjectAltName=DNS:localhost", "-out", pair[0], "-keyout", pair[1]]
        subprocess.run(command, check=True, capture_output=True)
        yield pair


@pytest.fixture(scope="module")
def trusting(certificate: tuple[str, str]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate[0])


@pytest.fixture(scope="module")
def context(certificate: tuple[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture(scope="module")
def secure(stage: ServerThread, context: ssl.SSLContext) -> RunningServer:
    return serve(stage, tls=context, limits=ServerLimits(linger_seconds=0.3))


@pytest.fixture(scope="module")
def hasty(stage: ServerThread, context: ssl.SSLContext) -> RunningServer:
    """Return a server with short timeouts."""
    return serve(stage, tls=context, limits=ServerLimits(header_seconds=0.5, idle_seconds=0.5))


def test_fast_routes_and_applications_work_over_tls(
    secure: RunningServer, trusting: ssl.SSLContext
) -> None:
    with secure.connect(tls=trusting) as peer:
        assert peer.request(build_get("/fast/who")).body == b"127.0.0.1 True"
        assert peer.request(build_get("/app/who")).body == b"127.0.0.1 True"
        assert peer.request(build_request("POST", "/fast/echo", body=b"x" * 200_000)).body.endswith(
            b"xxx"
        )
        assert (
            peer.request(build_request("POST", "/app/large", body=b"x" * 200_000)).body == b"200000"
        )
        assert peer.request(build_get("/app/large")).body == b"x" * 2_000_000
        peer.send(build_get("/app/late/20") + build_get("/fast/late/10") + build_get("/fast/hello"))
        assert [peer.read_response().body for _ in range(3)] == [b"late 20", b"late 10", b"hello"]
        answer = peer.request(build_get("/fast/hello", "Connection: close"))
        assert answer.closes_connection
        assert peer.is_closed_silently()


def test_malformed_requests_are_refused_over_tls(
    secure: RunningServer, trusting: ssl.SSLContext
) -> None:
    with secure.connect(tls=trusting) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n" + build_get())
        assert [each.status for each in parse_responses(peer.read_to_end())] == [400]


def test_requests_in_single_bytes_work_over_tls(
    secure: RunningServer, trusting: ssl.SSLContext
) -> None:
    with secure.connect(tls=trusting) as peer:
        for byte in build_request("POST", "/fast/echo", body=b"12345"):
            peer.send(bytes([byte]))
        assert peer.read_response().body.endswith(b"\n12345")


def test_plain_http_on_a_tls_port_affects_no_other_client(
    hasty: RunningServer, trusting: ssl.SSLContext
) -> None:
    for sent in (build_get(), b"\x16\x03\x01\x02\x00\x01", b"\x00" * 100, b""):
        with hasty.connect() as peer:
            peer.send(sent)
            peer.half_close()
            peer.read_to_end()
    with hasty.connect() as silent:
        silent.read_to_end()
    with hasty.connect(tls=trusting) as peer:
        assert peer.request(build_get()).body == b"hello"


def test_an_idle_tls_connection_does_not_delay_a_stop(
    stage: ServerThread, context: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    served = serve(stage, tls=context)
    with served.connect(tls=trusting) as peer:
        assert peer.request(build_get("/fast/hello")).status == 200
        time.sleep(0.5)
        # It reads nothing and so sends no close_notify.
        stage.run(served.server.drain(600), 60)


def test_idle_tls_connections_are_closed(hasty: RunningServer, trusting: ssl.SSLContext) -> None:
    with hasty.connect(tls=trusting) as peer:
        peer.request(build_get())
        assert peer.is_closed_silently()


# Unix sockets.


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "s"


def test_a_unix_socket_is_served(stage: ServerThread, place: Path) -> None:
    served = serve(stage, sockets=[bind_unix(place)])
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    with served.connect() as peer:
        assert peer.request(build_get("/fast/hello")).body == b"hello"
        assert peer.request(build_request("POST", "/app/echo", body=b"12345")).body.endswith(
            b"\n12345"
        )
        route, app = (
            peer.request(build_get("/fast/who")).body,
            peer.request(build_get("/app/who")).body,
        )
        assert route.endswith(b" False")
        assert app.endswith(b" False")
    served.stop()


def test_a_unix_socket_replaces_a_stale_one(place: Path) -> None:
    with bind_unix(place):
        pass
    with bind_unix(place, 0o660):
        assert stat.S_IMODE(place.stat().st_mode) == 0o660
        with RawClient(str(place)):
            pass


def test_a_unix_socket_replaces_no_other_file_and_no_live_socket(place: Path) -> None:
    place.write_text("somebody's")
    with pytest.raises(OSError):
        bind_unix(place)
    assert place.read_text() == "somebody's"


def test_several_sockets_are_served_at_once(stage: ServerThread, place: Path) -> None:
    sockets = [*bind_tcp("127.0.0.1", 0, 10), *bind_tcp("127.0.0.1", 0, 10), bind_unix(place)]
    served = serve(stage, sockets=sockets)
    for each in sockets:
        with RawClient(each.getsockname()) as peer:
            assert peer.request(build_get("/fast/hello")).body == b"hello"
    served.stop()


# Inherited sockets.

LAUNCHER = """
import os, sys
for place, handed in enumerate(sys.argv[2:], 3):
    os.dup2(int(handed), place)
if "LISTEN_PID" not in os.environ:
    os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1]])
"""
CHILD = """
import asyncio, sys
from tornado.web import Application
from httpserver import FastRoute, Response, Server, inherited_sockets

async def run():
    sockets = inherited_sockets()
    print(len(sockets), flush=True)
    if sockets:
        mine = FastRoute("GET", "/", lambda _: Response(200, (), b"mine"))
        server = Server(Application(), [mine])
        await server.listen(sockets)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await server.drain(2)

asyncio.run(run())
"""


def test_sockets_of_systemd_are_served(place: Path) -> None:
    with (
        bind_tcp("127.0.0.1", 0, 10)[0] as tcp,
        bind_unix(place) as unix,
        started([tcp, unix], LISTEN_FDS="2") as child,
    ):
        assert child.stdout
        assert child.stdout.readline() == "2\n"
        for each in (tcp, unix):
            with RawClient(each.getsockname()) as peer:
                assert peer.request(build_get("/")).body == b"mine"
        child.communicate(timeout=120)
        assert child.returncode == 0


@pytest.mark.parametrize(
    "variables", [{}, {"LISTEN_FDS": "1", "LISTEN_PID": "1"}, {"LISTEN_FDS": "x"}]
)
def test_sockets_of_another_process_are_not_inherited(variables: dict[str, str]) -> None:
    with started([], **variables) as child:
        assert child.communicate(timeout=120)[0] == "0\n"


def started(sockets: list[socket.socket], **variables: str) -> "subprocess.Popen[str]":
    """Start the child as systemd does: by a launcher that becomes the child."""
    environment = {key: each for key, each in os.environ.items() if not key.startswith("LISTEN_")}
    # Above the descriptor numbers that they are copied to.
    handed = [fcntl.fcntl(each, fcntl.F_DUPFD, 20) for each in sockets]
    try:
        return subprocess.Popen(
            [sys.executable, "-c", LAUNCHER, CHILD, *map(str, handed)],
            env={**environment, **variables},
            cwd=ROOT,
            pass_fds=handed,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    finally:
        for each in handed:
            os.close(each)


# Proxies.

CLIENT = "203.0.113.7"
FORWARDED = [
    ((f"X-Forwarded-For: {CLIENT}", "X-Forwarded-Proto: https"), f"{CLIENT} True"),
    ((f"X-Forwarded-For: {CLIENT}",), f"{CLIENT} False"),
    (("X-Forwarded-Proto: https",), "127.0.0.1 True"),
    ((f"X-Forwarded-For: 10.9.9.9, 198.51.100.1, {CLIENT}",), f"{CLIENT} False"),
    ((f"X-Forwarded-For: 198.51.100.1,{CLIENT}, 127.0.0.1",), f"{CLIENT} False"),
    (("X-Forwarded-For: 198.51.100.1", f"X-Forwarded-For: {CLIENT}"), f"{CLIENT} False"),
    (("X-Forwarded-For: 2001:db8::7",), "2001:db8::7 False"),
    ((f"Forwarded: for={CLIENT};proto=https",), f"{CLIENT} True"),
    ((f"Forwarded: For=198.51.100.1, for={CLIENT};host=a",), f"{CLIENT} False"),
    ((f'Forwarded: for="{CLIENT}:4711";by=10.0.0.1',), f"{CLIENT} False"),
    (('Forwarded: for="[2001:db8::7]:4711";proto=https',), "2001:db8::7 True"),
    (("Forwarded: for=unknown",), "127.0.0.1 False"),
    (("Forwarded: for=_hidden",), "127.0.0.1 False"),
    (("Forwarded: nonsense;;=,",), "127.0.0.1 False"),
    (("X-Forwarded-For: nonsense",), "127.0.0.1 False"),
    (("X-Forwarded-For: ",), "127.0.0.1 False"),
    (("X-Forwarded-For: 999.1.1.1",), "127.0.0.1 False"),
    (("X-Forwarded-Proto: gopher",), "127.0.0.1 False"),
    ((), "127.0.0.1 False"),
]


def asked(served: RunningServer, headers: tuple[str, ...]) -> set[str]:
    """Return the results of a fast route and of a handler."""
    with served.connect() as peer:
        answers: list[RawResponse] = [
            peer.request(build_get(path, *headers)) for path in ("/fast/who", "/app/who") * 2
        ]
    assert {each.status for each in answers} == {200}
    return {each.body.decode() for each in answers}


@pytest.fixture(scope="module")
def behind(stage: ServerThread) -> RunningServer:
    return serve(stage, proxies=["127.0.0.0/8", "10.0.0.1"])


@pytest.fixture(scope="module")
def alone(stage: ServerThread) -> RunningServer:
    return serve(stage, proxies=["10.0.0.1", "192.0.2.0/24", "::1"])


@pytest.mark.parametrize(("headers", "expected"), FORWARDED)
def test_forwarding_fields_of_a_trusted_proxy_are_used(
    behind: RunningServer, headers: tuple[str, ...], expected: str
) -> None:
    assert asked(behind, headers) == {expected}


@pytest.mark.parametrize(("headers", "expected"), FORWARDED)
def test_forwarding_fields_of_other_clients_are_ignored(
    alone: RunningServer, headers: tuple[str, ...], expected: str
) -> None:
    assert asked(alone, headers) == {"127.0.0.1 False"}


def test_forwarding_fields_apply_to_one_request_only(behind: RunningServer) -> None:
    with behind.connect() as peer:
        for path in ("/fast/who", "/app/who"):
            response = peer.request(
                build_get(path, f"X-Forwarded-For: {CLIENT}", "X-Forwarded-Proto: https")
            )
            assert response.body == f"{CLIENT} True".encode()
            assert peer.request(build_get(path)).body == b"127.0.0.1 False"


def test_a_client_gone_before_accept_is_not_served(stage: ServerThread) -> None:
    """It has no address, and neither has a trusted proxy on a Unix socket."""
    seen: list[str | None] = []

    def note(asked: Request) -> Response:
        seen.append(asked.client_address)
        return Response(204)

    (listening,) = bind_tcp("127.0.0.1", 0)
    for _ in range(20):
        peer = socket.create_connection(listening.getsockname())
        peer.sendall(build_get("/note", f"X-Forwarded-For: {CLIENT}"))
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
    routes = [FastRoute("GET", "/note", note), *FAST_ROUTES]
    served = stage.serve(echo_application(), routes, sockets=[listening], proxies=["unix"])
    served.ping()
    assert served.server.open_connections <= 1
    assert seen == []


def test_invalid_proxy_addresses_are_refused() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        Server(Application(), proxies=["nonsense"])
