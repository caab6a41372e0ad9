"""Counters of a server."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class ServerStats:
    """Totals since the server was created.

    `errors` counts error responses of the server itself. `timeouts` counts connections closed by
    a timeout, by kind: header, body, idle or write.
    """

    accepted: int = 0
    refused_connections: int = 0
    rejected_before_body: int = 0
    closed_slow_readers: int = 0
    requests: int = 0
    errors: int = 0
    timeouts: Counter[str] = field(default_factory=Counter)
