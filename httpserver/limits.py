"""How much, and for how long, a peer may ask."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Bounds of a server; sizes in bytes, times in seconds.

    `body` holds for every lane without a `body_limit` and for every application handler that
    does not call `set_max_body_size`. A body may take `body_seconds`, and a second more for each
    `body_rate` bytes of it that have come. A peer for which something waits must read `write_rate`
    bytes a second, over `write_seconds`. `requests_per_connection` 0 means no limit.
    """

    line: int = 16_384
    headers: int = 16_384
    body: int = 262_144
    header_seconds: float = 10.0
    body_seconds: float = 20.0
    body_rate: int = 4_096
    idle_seconds: float = 75.0
    write_seconds: float = 20.0
    write_rate: int = 1_024
    linger_seconds: float = 2.0
    linger_bytes: int = 1_048_576
    connections: int = 12_000
    requests_per_connection: int = 0

    @property
    def refused(self) -> int:
        """Connections beyond `connections` that are accepted to answer 503; others are closed."""
        return min(512, max(64, self.connections // 8))

    def fitting(self, files: int) -> "ServerLimits":
        """These limits, with no more connections than fit into so many open files."""
        most = max(1, min(files * 8 // 9, files - 64))
        return self if self.connections <= most else replace(self, connections=most)

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value <= 0 and not (name == "requests_per_connection" and value == 0):
                raise ValueError(f"{name} must be more than 0, not {value}")
