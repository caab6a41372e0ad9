"""What the Tornado adapter needs of a connection."""

from typing import Protocol

from httpserver.client_stream import ClientStream
from httpserver.context.server_context import ServerContext


class ClientConnection(Protocol):
    """A connection that passes a request to a Tornado application."""

    @property
    def context(self) -> ServerContext:
        """The state shared by all connections of the server."""

    @property
    def stream(self) -> ClientStream:
        """The transport to write to."""

    def count_response(self) -> bool:
        """Count a response; return whether the connection must close after it."""

    def reserve_unsent(self, address: str) -> bool:
        """Reserve memory for unsent data of a client; return False if the caller must close."""

    def send_error(self, status: int, detail: str) -> None:
        """Send an error response unless another has begun, and close."""

    def close_gracefully(self) -> None:
        """Close after everything has been sent."""

    def block_reading(self) -> None:
        """Read nothing until `unblock_reading`; the time does not count for the client."""

    def unblock_reading(self) -> None:
        """Allow reading again."""

    def process_input(self) -> None:
        """Continue with the input received."""

    def prepare_body(self, limit: int, *, accounted: bool, discarded: bool) -> None:
        """Start reading the body, of at most `limit` bytes; raise `RequestRefusal` if too large.

        `accounted` bodies reserve memory, `discarded` ones do not reach the application.
        """

    def set_body_timeout(self, seconds: float) -> None:
        """Let the body take `seconds` from now."""

    def application_finished(self, keep_alive: bool) -> None:
        """Continue after the application's response."""
