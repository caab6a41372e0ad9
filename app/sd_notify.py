"""Notifications to systemd or a compatible supervisor: sd_notify(3)."""

import asyncio
import logging
import socket
from collections.abc import Mapping

# Each extension moves the start timeout this far ahead.
START_TIMEOUT_SECONDS = 60.0
LOG = logging.getLogger("marquee.supervisor")


class SystemdNotifier:
    """Sends notifications to the supervisor of this process; without one it does nothing."""

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        """Read the socket and watchdog from the environment of process `pid`."""
        address = environ.get("NOTIFY_SOCKET", "")
        # A leading @ marks a socket in the abstract namespace.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        timeout = environ.get("WATCHDOG_USEC", "")
        ours = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        # 0 without a watchdog.
        self.watchdog_seconds = (
            int(timeout) / 1e6 if timeout.isdigit() and ours and address else 0.0
        )
        self._failed = False

    async def start(self) -> None:
        """Extend the start timeout until cancelled: large tables take long to read."""
        while True:
            await asyncio.sleep(START_TIMEOUT_SECONDS / 3)
            self._notify(f"EXTEND_TIMEOUT_USEC={round(START_TIMEOUT_SECONDS * 1e6)}")

    def ready(self, status: str) -> None:
        """Notify that the server serves; `status` is a line for people."""
        self._notify(f"READY=1\nSTATUS={status}")

    def stopping(self) -> None:
        """Notify that the server stops."""
        self._notify("STOPPING=1\nSTATUS=completing requests in flight")

    async def watch(self) -> None:
        """Reset the watchdog from the event loop, so that a blocked loop triggers it."""
        while self.watchdog_seconds:
            self._notify("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_seconds / 3)

    def _notify(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as client:
                # A supervisor that does not read must not block the event loop.
                client.setblocking(False)
                client.sendto(message.encode(), self._address)
        except OSError as error:
            if not self._failed:
                LOG.warning("cannot notify the supervisor error=%s", error)
            self._failed = True
