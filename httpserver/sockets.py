"""The sockets a server listens on: made here, or inherited from who started it."""

import contextlib
import ctypes
import fcntl
import os
import resource
import socket
import stat
import struct
import termios
from pathlib import Path
from typing import Any

from tornado.netutil import bind_sockets

# The first file descriptor that is handed over (sd_listen_fds(3)).
_FIRST_INHERITED_FD = 3
# Of Linux; Python's socket module does not name it.
_SO_ATTACH_FILTER = 26


def bind_tcp(host: str, port: int, backlog: int = 1_024) -> list[socket.socket]:
    """Listening TCP sockets for each address that `host` has; "" is every one of the machine.

    Port 0 takes a free one, the same for all. Raises OSError.
    """
    return bind_sockets(port, host or None, backlog=backlog)


# What fits the address of a Unix socket.
_MAX_UNIX_PATH_BYTES = 107


def bind_unix(path: str | os.PathLike[str], mode: int = 0o600) -> socket.socket:
    """A listening Unix socket; what a server that is gone has left there is replaced.

    Raises OSError if `path` is something else than a socket.
    """
    place = Path(path)
    if place.exists():
        if not stat.S_ISSOCK(place.stat().st_mode):
            raise FileExistsError(f"{place} is there and is no socket")
        place.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Nobody may connect between bind and chmod.
        before = os.umask(0o777 & ~mode)
        try:
            _bind_unix_path(listening, place)
        finally:
            os.umask(before)
        place.chmod(mode)
        listening.listen(1_024)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _bind_unix_path(listening: socket.socket, place: Path) -> None:
    if len(os.fsencode(place)) <= _MAX_UNIX_PATH_BYTES:
        listening.bind(str(place))
        return
    # By a short cut: a folder that is open has a short name, too.
    folder = os.open(place.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        listening.bind(f"/proc/self/fd/{folder}/{place.name}")
    finally:
        os.close(folder)


class InheritedSocket(socket.socket):
    """A listening socket that whoever started this process holds, too."""


def inherited_sockets() -> list[socket.socket]:
    """The sockets that systemd (or the like) has opened for this process; [] without any.

    Takes the variables LISTEN_* out of the environment: they are not for our children.
    """
    count = os.environ.pop("LISTEN_FDS", "")
    pid = os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not count.isdigit() or pid != str(os.getpid()):
        return []
    sockets: list[socket.socket] = []
    for descriptor in range(_FIRST_INHERITED_FD, _FIRST_INHERITED_FD + int(count)):
        os.set_inheritable(descriptor, False)
        each = InheritedSocket(fileno=descriptor)
        each.setblocking(False)
        sockets.append(each)
    return sockets


def drop_new_connections(listening: socket.socket) -> None:
    """Let no more connections into the queue of `listening`, which is about to be closed.

    Closing it resets those that came after the last was accepted, though their clients have sent
    their requests; unless the kernel drops their first packet, so that they come again later and
    find nobody. Does nothing to sockets that other processes share, nor where it cannot be done.
    """
    if isinstance(listening, InheritedSocket) or listening.family == socket.AF_UNIX:
        return
    # BPF: A = the TCP flags; if SYN is among them, drop the packet, or else take all of it.
    steps = [(0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFF)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    with contextlib.suppress(OSError):
        listening.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("HP", len(steps), ctypes.addressof(program)),
        )


def raise_open_file_limit(wanted: int) -> int:
    """Raise this process's limit of open files to `wanted`, or as near as it may; what it is now.

    The usual limit is 1,024, from times when more would have broken programs.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft


def unacknowledged_bytes(connected: Any) -> int:
    """The bytes in the kernel's buffer that the peer has not acknowledged; 0 where none can tell.

    A kernel takes megabytes and asks for more only when a third of them has gone: without this,
    who reads slowly looks like who does not read at all.
    """
    try:
        return int(
            struct.unpack("i", fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
        )
    except (OSError, ValueError, AttributeError):
        return 0
