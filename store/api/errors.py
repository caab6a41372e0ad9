"""What can go wrong in the store.

StoreError          the base of them all; the message is for people
├── StoreFailed     the disk or the database is broken: nothing is written until a restart
├── StoreFull       the disk is full: this write failed, later ones work once there is room
├── StoreNewer      the database was written by a newer program
├── StoreBusy       someone else holds what is needed; try again later
├── StoreRefused    what was asked for cannot be done, and nothing has changed
├── StoreGone       the running server went away amid its work
└── StoreAway       an upstream gives no answer; try again when it says
"""


class StoreError(Exception):
    """The base of the store's errors."""


class StoreFailed(StoreError):
    """The disk or the database is broken: nothing is written until a restart."""


class StoreFull(StoreError):
    """The disk is full: this write failed, later ones work once there is room."""


class StoreTooNew(StoreError):
    """The database was written by a newer program."""


class StoreBusy(StoreError):
    """Someone else holds what is needed; try again later."""


class StoreRefused(StoreError):
    """What was asked for cannot be done, and nothing has changed."""


class StoreDisconnected(StoreError):
    """The running server went away amid its work."""


class UpstreamUnavailable(StoreError):
    """An upstream gives no answer, or is not to be asked for so many seconds (`wait`)."""

    def __init__(self, words: str, wait: float = 0.0) -> None:
        super().__init__(words)
        self.wait = wait
