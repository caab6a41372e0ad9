"""Server: readiness, other processes with the database open, and the address."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from app.settings import Settings
from commands import control_client
from commands.doctor.finding import DoctorFinding, note, passed, problem
from store.api.errors import StoreError
from store.sqlite.core.data_folder import CONTROL_SOCKET, DATABASE_FILE


def check_server(settings: Settings) -> Iterator[DoctorFinding]:
    """Check the running server, or without one whether its address is free."""
    data = Path(settings.data)
    holder = _lock_holder(data)
    if holder is None:
        yield note("server", "no server is running on this folder")
    else:
        yield from _running_server(data, holder)
    yield from _other_processes(data, holder)
    if holder is None:
        yield from _check_address(settings)


def _lock_holder(data: Path) -> str | None:
    """Return the id of the process that holds the folder's lock; None if it is not locked."""
    # A server locks the folder as well as the file, which somebody may remove.
    for path in (data, data / "lock"):
        try:
            file = os.open(path, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            lock = data / "lock"
            pid = lock.read_text("ascii", "replace").strip() if lock.exists() else ""
            return pid or "unknown"
        except OSError:  # the file system cannot lock folders
            continue
        finally:
            os.close(file)
    return None


def _running_server(data: Path, holder: str) -> Iterator[DoctorFinding]:
    remedy = f"wait, or check its log; kill -9 {holder} loses no acknowledged event"
    try:
        readiness = control_client.fetch_readiness(data / CONTROL_SOCKET)
    except StoreError as error:
        message = f"process {holder} has the folder locked and does not respond: {error}"
        yield problem("server", message, remedy)
        return
    failing = [name for name, is_met in readiness.checks.items() if not is_met]
    if failing:
        message = f"process {holder} is not ready: {', '.join(failing)}"
        yield problem("server", message, remedy)
    else:
        yield passed("server", f"process {holder} is ready")
    for text in readiness.notes:
        yield note("server", text)


def _other_processes(data: Path, holder: str | None) -> Iterator[DoctorFinding]:
    """Report other processes with the database open, as far as this user can see them."""
    try:
        database = (data / DATABASE_FILE).stat()
    except OSError:
        return
    for process in Path("/proc").glob("[0-9]*"):
        if process.name in (holder, str(os.getpid())):
            continue
        try:
            same = any(
                os.path.samestat(database, each.stat()) for each in (process / "fd").iterdir()
            )
            name = (process / "comm").read_text().strip() if same else ""
        except OSError:
            continue
        if same:
            yield note(
                "others",
                f"process {process.name} ({name}) has {DATABASE_FILE} open",
                "readers such as backups are fine; nothing else may write or checkpoint",
            )


def _check_address(settings: Settings) -> Iterator[DoctorFinding]:
    address_text = f"{settings.host}:{settings.port}"
    try:
        addresses = socket.getaddrinfo(
            settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        yield problem(
            "address", f"invalid address {settings.host}: {error}", "set another with --host"
        )
        return
    for family, kind, protocol, _, address in addresses:
        try:
            with socket.socket(family, kind, protocol) as test_socket:
                test_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    test_socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                test_socket.bind(address)
                test_socket.listen(1)
        except OSError as error:
            yield problem(
                "address", f"{address_text}: {error.strerror}", _bind_remedy(error, settings.port)
            )
            return
    yield passed("address", f"{address_text} is free")


def _bind_remedy(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"find its user (ss -ltnp 'sport = :{port}'), or set another with --port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "use a port from 1024, or socket activation by systemd (deploy/marquee.socket)"
    return "set an address of this machine with --host (ip addr)"
