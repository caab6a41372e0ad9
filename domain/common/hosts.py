"""Normalise and compare hosts: one rule for apps, origins, beacons and queries.

A host is a DNS name, an IPv4 address, or an IPv6 address in brackets, with or without a port. The
canonical form is the one that browsers send in `Origin`: lower case, ASCII (punycode), without
the final dot of a DNS name, and an IPv6 address in its shortest form.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Collection
from functools import lru_cache

MAX_HOST_LENGTH = 260
DEFAULT_PORTS = (":443", ":80")
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:\[\]]+)(?::([0-9]{1,5}))?", re.ASCII)
_DNS_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
    r"(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*",
    re.ASCII,
)
# Full stops that UTS 46 treats as the dot between labels.
_FULL_STOPS = str.maketrans("\u3002\uff0e\uff61", "...")


def canonical_host(text: str) -> str | None:
    """Return the canonical form of a host; None if it is not a host."""
    # Checked before the cache, which would otherwise store text of any length.
    return _cached_canonical_host(text) if len(text) <= MAX_HOST_LENGTH else None


@lru_cache(4_096)
def _cached_canonical_host(text: str) -> str | None:
    text = text.strip()
    if text.count(":") > 1 and not text.startswith("["):
        text = f"[{text}]"
    parts = _HOST_AND_PORT.fullmatch(text)
    if parts is None:
        return None
    name = (
        _canonical_ipv6(parts[1][1:-1])
        if parts[1].startswith("[")
        else _canonical_dns_name(parts[1])
    )
    if name is None or parts[2] is None:
        return name
    port = int(parts[2])
    return f"{name}:{port}" if 0 < port < 65_536 else None


def matching_host(host: str, hosts: Collection[str]) -> str | None:
    """Return the entry of `hosts` that a page's host belongs to; all in canonical form.

    An entry without a port covers every port. A page on its scheme's default port names none, so
    that it belongs to an entry with 443 or 80, too.
    """
    if host in hosts:
        return host
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit():
        return name if name in hosts else None
    return next((host + port for port in DEFAULT_PORTS if host + port in hosts), None)


def without_port(host: str) -> str:
    """Return the name or address of a host in canonical form."""
    return _HOST_AND_PORT.sub(r"\1", host)


def host_of_origin(origin: str) -> str | None:
    """Return the canonical host of an `Origin` field; None if it is not a web page's."""
    scheme, _, host = origin.partition("://")
    return canonical_host(host) if scheme in ("http", "https") else None


def _canonical_ipv6(text: str) -> str | None:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return None
    # A zone is local to one machine, and not valid in a URL.
    return None if address.scope_id else f"[{address.compressed}]"


def _canonical_dns_name(text: str) -> str | None:
    name = unicodedata.normalize("NFKC", text.translate(_FULL_STOPS).lower()).lower()
    if any(unicodedata.category(each)[0] in "CZ" for each in name):
        return None
    name = ".".join(
        label if label.isascii() else "xn--" + label.encode("punycode").decode("ascii")
        for label in name.removesuffix(".").split(".")
    )
    return name if _DNS_NAME.fullmatch(name) else None
