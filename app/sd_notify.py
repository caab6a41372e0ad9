"""What systemd, or another supervisor that speaks like it, is told: sd_notify(3) in a few lines."""

import asyncio
import logging
import socket
from collections.abc import Mapping

# Seconds of the start's timeout after each extension.
START_TIMEOUT_SECONDS = 60.0
LOG = logging.getLogger("marquee.supervisor")


class SystemdNotifier:
    """The supervisor of this process; where there is none, nothing is told to anybody."""

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        """`environ` is the process's environment, `pid` its number."""
        address = environ.get("NOTIFY_SOCKET", "")
        # With an @ it is a name and no file.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        within = environ.get("WATCHDOG_USEC", "")
        ours = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        # Seconds after the last sign of life when it ends us; 0 if it does not watch.
        self.patience = int(within) / 1e6 if within.isdigit() and ours and address else 0.0
        self._told = False

    async def start(self) -> None:
        """Extend the start's timeout while the loop turns: large tables take long to read."""
        while True:
            await asyncio.sleep(START_TIMEOUT_SECONDS / 3)
            self._tell(f"EXTEND_TIMEOUT_USEC={round(START_TIMEOUT_SECONDS * 1e6)}")

    def ready(self, words: str) -> None:
        """The server serves; `words` for people say where."""
        self._tell(f"READY=1\nSTATUS={words}")

    def stopping(self) -> None:
        """It is about to end."""
        self._tell("STOPPING=1\nSTATUS=answering what is in flight")

    async def watch(self) -> None:
        """Give signs of life, on the loop itself, so that one that hangs gives none."""
        while self.patience:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self.patience / 3)

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                # A supervisor that does not listen must not hang us.
                line.setblocking(False)
                line.sendto(message.encode(), self._address)
        except OSError as error:
            if not self._told:
                LOG.warning("the supervisor cannot be told: %s", error)
            self._told = True
