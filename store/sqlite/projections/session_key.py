"""Numeric keys of sessions in the projections, which do not contain the session id."""

from zlib import crc32


def session_key(session: str | None) -> int | None:
    """Return a session's key; it is not unique, so lookups by key must also compare the id."""
    return None if session is None else crc32(session.encode("utf-8", "surrogatepass"))
