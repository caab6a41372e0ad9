"""Errors of the store; their messages are shown to users.

StoreError              base class
├── StoreFailed         the disk or database is broken: nothing is written until a restart
├── StoreFull           the disk is full: this write failed, later writes work once there is space
├── StoreTooNew         a newer version of the program wrote the database
├── StoreBusy           another operation holds the resource: retry later
├── StoreRefused        the request is invalid; nothing was changed
├── StoreDisconnected   the running server closed the connection during a call
└── UpstreamUnavailable an upstream does not respond: retry after its wait
"""


class StoreError(Exception):
    """Base class of the store's errors."""


class StoreFailed(StoreError):
    """The disk or database is broken: nothing is written until a restart."""


class StoreFull(StoreError):
    """The disk is full: this write failed, later writes work once there is space."""


class StoreTooNew(StoreError):
    """A newer version of the program wrote the database."""


class StoreBusy(StoreError):
    """Another operation holds the resource: retry later."""


class StoreRefused(StoreError):
    """The request is invalid; nothing was changed."""


class StoreDisconnected(StoreError):
    """The running server closed the connection during a call."""


class UpstreamUnavailable(StoreError):
    """An upstream does not respond, or must not be requested for `wait` seconds."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait
