"""What the wire, or a lane, will not serve."""


class RequestRefusal(Exception):
    """A request that is answered with an error of `status`; `detail` tells the peer why.

    A lane may raise it too. The server's `error` makes the answer.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail
