"""Who serves from the data folder now, and whether the address is free for it."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from app.settings import Settings
from commands import control_client
from commands.doctor.finding import DoctorFinding, fault, note, ok
from store.api.errors import StoreError
from store.sqlite.core.data_folder import CONTROL_SOCKET, DATABASE_FILE


def check_server(settings: Settings) -> Iterator[DoctorFinding]:
    """Whether a server of this folder runs and is well, and who else is at its database."""
    data = Path(settings.data)
    holder = _lock_holder(data)
    if holder is None:
        yield note("server", "none serves from this folder now")
    else:
        yield from _running_server(data, holder)
    yield from _other_processes(data, holder)
    if holder is None:
        yield from _check_address(settings)


def _lock_holder(data: Path) -> str | None:
    """The process that holds the folder's lock, None if nobody does."""
    # The folder is locked as well as the file, because the file may have been removed.
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
        except OSError:  # a file system without locks on folders
            continue
        finally:
            os.close(file)
    return None


def _running_server(data: Path, holder: str) -> Iterator[DoctorFinding]:
    remedy = f"wait, or see its log; kill -9 {holder} harms nothing that was acknowledged"
    try:
        said = control_client.fetch_readiness(data / CONTROL_SOCKET)
    except StoreError as error:
        words = f"process {holder} holds the folder and does not answer: {error}"
        yield fault("server", words, remedy)
        return
    failing = [name for name, holds in said.checks.items() if not holds]
    if failing:
        words = f"process {holder} is not ready: {', '.join(failing)}"
        yield fault("server", words, remedy)
    else:
        yield ok("server", f"process {holder} serves, and is ready")
    for words in said.notes:
        yield note("server", words)


def _other_processes(data: Path, holder: str | None) -> Iterator[DoctorFinding]:
    """Programs besides the server that have the database open, as far as we may see them."""
    try:
        wanted = (data / DATABASE_FILE).stat()
    except OSError:
        return
    for process in Path("/proc").glob("[0-9]*"):
        if process.name in (holder, str(os.getpid())):
            continue
        try:
            same = any(os.path.samestat(wanted, each.stat()) for each in (process / "fd").iterdir())
            name = (process / "comm").read_text().strip() if same else ""
        except OSError:
            continue
        if same:
            yield note(
                "others",
                f"process {process.name} ({name}) has {DATABASE_FILE} open",
                "a backup or another reader may; what writes or checkpoints must not",
            )


def _check_address(settings: Settings) -> Iterator[DoctorFinding]:
    place = f"{settings.host}:{settings.port}"
    try:
        named = socket.getaddrinfo(
            settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        yield fault(
            "address", f"{settings.host} is no address: {error}", "name another with --host"
        )
        return
    for family, kind, protocol, _, address in named:
        try:
            with socket.socket(family, kind, protocol) as trial:
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                trial.bind(address)
                trial.listen(1)
        except OSError as error:
            yield fault("address", f"{place}: {error.strerror}", _bind_remedy(error, settings.port))
            return
    yield ok("address", f"{place} is free")


def _bind_remedy(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"see who has it (ss -ltnp 'sport = :{port}'), or take another with --port"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "take a port from 1024 on, or have systemd hold it (deploy/marquee.socket)"
    return "name an address of this machine with --host (ip addr)"
