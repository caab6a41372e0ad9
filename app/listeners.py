"""The sockets that Marquee listens on, and the servers behind them."""

import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.web import Application

from app.settings import SettingError, Settings, refuse_passphrase
from handlers.common.responses import problem_response
from handlers.operations.control_socket import IMPORT_IDLE_TIMEOUT_SECONDS
from httpserver import (
    FastRoute,
    MemoryBudget,
    RequestNormalizer,
    ResponseHeadersWrapper,
    Server,
    ServerLimits,
    bind_tcp,
    bind_unix,
)
from store.sqlite.core.data_folder import CONTROL_SOCKET

# People type commands, so few run at once.
MAX_CONTROL_CONNECTIONS = 100


def load_tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS context, None without a certificate; raises `SettingError`."""
    if not settings.tls_cert:
        return None
    for name in ("tls_cert", "tls_key"):
        path = getattr(settings, name)
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise SettingError(f"{name}: {path} cannot be read: {error.strerror}") from None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key, refuse_passphrase)
    except (OSError, ssl.SSLError) as error:
        raise SettingError(
            f"tls_cert, tls_key: not a PEM certificate and its private key: {error}"
        ) from None
    return context


def bind_sockets(settings: Settings) -> list[socket.socket]:
    """Bind the address of the settings; raises an `OSError` that names it."""
    try:
        return bind_tcp(settings.host, settings.port)
    except OSError as error:
        address = f"{settings.host}:{settings.port}"
        raise OSError(f"cannot listen on {address}: {error.strerror or error}") from None


def base_url(settings: Settings, sockets: Sequence[socket.socket]) -> str:
    """Return the URL of the server on `sockets` as seen from this machine."""
    if sockets[0].family == socket.AF_UNIX:
        return "http://localhost"
    host, port = sockets[0].getsockname()[:2]
    # A browser cannot open a wildcard address.
    named = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    host = f"[{named}]" if ":" in named else named
    return f"{'https' if settings.tls_cert else 'http'}://{host}:{port}"


async def start_control_server(data: Path, application: Application) -> Server:
    """Serve commands on the control socket in the data folder."""
    limits = ServerLimits(
        max_connections=MAX_CONTROL_CONNECTIONS, idle_seconds=IMPORT_IDLE_TIMEOUT_SECONDS
    )
    server = Server(application, limits=limits)
    await server.listen([bind_unix(data / CONTROL_SOCKET)])
    return server


async def start_server(
    settings: Settings,
    application: Application,
    lanes: Sequence[FastRoute],
    room: MemoryBudget,
    sockets: Sequence[socket.socket],
    tls: ssl.SSLContext | None,
) -> Server | HTTPServer:
    """Serve on `sockets` with the server that the settings name.

    `wire` calls the fast routes from its parser, and the application for all other requests.
    Tornado's own server calls only the application, which contains the fast routes.
    """
    proxies = settings.trusted_proxies()
    always: list[tuple[str, str]] = []
    if tls is not None and settings.hsts_seconds:
        always = [("Strict-Transport-Security", f"max-age={settings.hsts_seconds}")]
    if settings.server == "tornado":
        normalized = RequestNormalizer(application, problem_response)
        plain = HTTPServer(
            ResponseHeadersWrapper(normalized, always) if always else normalized,
            ssl_options=tls,
            xheaders=bool(proxies),
            trusted_downstream=proxies,
            max_header_size=settings.max_headers,
            max_body_size=settings.max_body,
            body_timeout=settings.body_seconds,
            idle_connection_timeout=settings.idle_seconds,
        )
        plain.add_sockets(sockets)
        return plain
    limits = ServerLimits(
        request_line_bytes=settings.max_line,
        header_bytes=settings.max_headers,
        body_bytes=settings.max_body,
        max_connections=settings.max_connections,
        requests_per_connection=settings.max_requests,
        header_seconds=settings.header_seconds,
        body_seconds=settings.body_seconds,
        idle_seconds=settings.idle_seconds,
        write_seconds=settings.write_seconds,
    )
    server = Server(
        application,
        lanes,
        limits=limits,
        proxies=proxies,
        error_response=problem_response,
        memory_budget=room,
        headers=always,
    )
    await server.listen(sockets, tls=tls)
    return server
