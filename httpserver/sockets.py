"""Listening sockets: bound here or inherited from systemd."""

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

# The first inherited file descriptor (sd_listen_fds(3)).
_FIRST_INHERITED_FD = 3
# From Linux's asm/socket.h; the socket module does not define it.
_SO_ATTACH_FILTER = 26


def bind_tcp(host: str, port: int, backlog: int = 1_024) -> list[socket.socket]:
    """Return a listening TCP socket for each address of `host`; "" means all interfaces.

    Port 0 selects one free port for all of them. Raise OSError if an address is unavailable.
    """
    return bind_sockets(port, host or None, backlog=backlog)


# sockaddr_un holds 108 bytes with the final NUL (unix(7)).
_MAX_UNIX_PATH_BYTES = 107


def bind_unix(path: str | os.PathLike[str], mode: int = 0o600) -> socket.socket:
    """Return a listening Unix socket; replace the socket file of an earlier process.

    Raise OSError if `path` exists and is not a socket.
    """
    socket_path = Path(path)
    if socket_path.exists():
        if not stat.S_ISSOCK(socket_path.stat().st_mode):
            raise FileExistsError(f"{socket_path} exists and is not a socket: choose another path")
        socket_path.unlink()
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Without the umask, other users could connect between bind and chmod.
        previous_umask = os.umask(0o777 & ~mode)
        try:
            _bind_unix_path(listening, socket_path)
        finally:
            os.umask(previous_umask)
        socket_path.chmod(mode)
        listening.listen(1_024)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _bind_unix_path(listening: socket.socket, socket_path: Path) -> None:
    if len(os.fsencode(socket_path)) <= _MAX_UNIX_PATH_BYTES:
        listening.bind(str(socket_path))
        return
    # /proc gives the open parent folder a short path.
    folder = os.open(socket_path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        listening.bind(f"/proc/self/fd/{folder}/{socket_path.name}")
    finally:
        os.close(folder)


class InheritedSocket(socket.socket):
    """A listening socket that the parent process may still use."""


def inherited_sockets() -> list[socket.socket]:
    """Return the sockets passed by systemd socket activation (sd_listen_fds(3)).

    Remove the LISTEN_* variables from the environment, so that child processes ignore them.
    """
    count = os.environ.pop("LISTEN_FDS", "")
    pid = os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if not count.isdigit() or pid != str(os.getpid()):
        return []
    sockets: list[socket.socket] = []
    for descriptor in range(_FIRST_INHERITED_FD, _FIRST_INHERITED_FD + int(count)):
        os.set_inheritable(descriptor, False)
        inherited = InheritedSocket(fileno=descriptor)
        inherited.setblocking(False)
        sockets.append(inherited)
    return sockets


def drop_new_connections(listening: socket.socket) -> None:
    """Make the kernel drop new connections to `listening`, which is about to be closed.

    Closing a socket resets the connections in its queue, whose clients may have sent requests.
    Dropped SYN packets are retransmitted instead, and the connection is refused. Do nothing for
    sockets that other processes share, or if the kernel does not support it.
    """
    if isinstance(listening, InheritedSocket) or listening.family == socket.AF_UNIX:
        return
    # BPF: load the TCP flags; if SYN is set, drop the packet, else accept it.
    steps = [(0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFF)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    with contextlib.suppress(OSError):
        listening.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("HP", len(steps), ctypes.addressof(program)),
        )


def raise_open_file_limit(wanted: int) -> int:
    """Raise the limit of open files towards `wanted`, and return the resulting limit.

    The usual soft limit is 1,024, for compatibility with select(2).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft


def unacknowledged_bytes(connected: Any) -> int:
    """Return the bytes in the send buffer that the peer has not acknowledged; 0 if unknown.

    The kernel buffers megabytes and becomes writable only when a third has been sent. Without
    this value, a slow reader cannot be distinguished from one that has stopped.
    """
    try:
        return int(
            struct.unpack("i", fcntl.ioctl(connected.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
        )
    except (OSError, ValueError, AttributeError):
        return 0
