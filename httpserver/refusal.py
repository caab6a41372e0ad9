"""The exception for a request that is answered with an error response."""


class RequestRefusal(Exception):
    """Raised by the server or a fast route; `detail` is a sentence for the client."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
