"""Limits that protect a server from slow, large or too many requests."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Sizes in bytes, times in seconds.

    `body_bytes` applies to fast routes without a `body_limit` and to application handlers that do
    not call `set_max_body_size`. A body may take `body_seconds`, plus one second for every
    `body_bytes_per_second` received. A client must acknowledge `write_bytes_per_second` of a
    pending response, averaged over `write_seconds`. `requests_per_connection=0` means no limit.
    """

    request_line_bytes: int = 16_384
    header_bytes: int = 16_384
    body_bytes: int = 262_144
    header_seconds: float = 10.0
    body_seconds: float = 20.0
    body_bytes_per_second: int = 4_096
    idle_seconds: float = 75.0
    write_seconds: float = 20.0
    write_bytes_per_second: int = 1_024
    linger_seconds: float = 2.0
    linger_bytes: int = 1_048_576
    max_connections: int = 12_000
    requests_per_connection: int = 0

    @property
    def max_refused_connections(self) -> int:
        """Connections above `max_connections` that get a 503; further ones are closed at once."""
        return min(512, max(64, self.max_connections // 8))

    def fit_open_files(self, files: int) -> "ServerLimits":
        """Return these limits with `max_connections` reduced to fit into `files` descriptors."""
        most = max(1, min(files * 8 // 9, files - 64))
        return self if self.max_connections <= most else replace(self, max_connections=most)

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if value <= 0 and not (name == "requests_per_connection" and value == 0):
                raise ValueError(f"invalid {name} {value}: must be greater than 0")
