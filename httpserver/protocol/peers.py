"""Who is at the other end, and whom a proxy in front of us says it speaks for."""

import ipaddress
import re
from collections.abc import Sequence

from httpserver.protocol import header_fields

_IPV4_MAPPED_PREFIX = "::ffff:"
# RFC 7239, section 4: pairs by semicolon; a value is a token or a quoted string.
_FORWARDED_PAIR = re.compile(r'[ \t]*([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^",; \t]*)[ \t]*(?:;|$)')


class Peer:
    """The other end of a connection.

    `address` is its IP address, or "unix"; `proxies` is set only if it is a named proxy.
    """

    __slots__ = ("address", "proxies", "secure")

    def __init__(self, address: str, secure: bool, proxies: "TrustedProxies | None" = None) -> None:
        self.address = address
        self.secure = secure
        self.proxies = proxies


class TrustedProxies:
    """The proxies that are believed when they name their client.

    `named` are addresses or networks, and "unix" for whoever comes over a Unix socket. Raises
    ValueError for anything else.
    """

    def __init__(self, named: Sequence[str] = ()) -> None:
        self._unix = "unix" in named
        self._networks = [ipaddress.ip_network(each) for each in named if each != "unix"]

    def peer(self, address: str, secure: bool) -> Peer:
        """The peer at `address`."""
        if address.startswith(_IPV4_MAPPED_PREFIX):
            # IPv4 over a socket for both.
            address = _parse_node_address(address) or address
        return Peer(address, secure, self if self._trusts(address) else None)

    def client(self, peer: Peer, head: bytes) -> tuple[str, bool]:
        """The client's address, and whether it came over TLS, by what the proxy `peer` tells.

        Taken from the right, past our own proxies, so that what a client wrote itself is not
        believed. A proxy sets `Forwarded` or `X-Forwarded-*` and hands the other on as its client
        sent it: where both are there and differ, neither is believed.
        """
        told = [
            each for each in (self._forwarded(head), self._x_forwarded(head)) if each is not None
        ]
        address, proto = told[0] if told else (None, None)
        if len(told) == 2 and told[0] != told[1]:
            address = address if address == told[1][0] else None
            proto = proto if proto == told[1][1] else "http"
        return address or peer.address, peer.secure if proto is None else proto == "https"

    def _forwarded(self, head: bytes) -> tuple[str | None, str | None] | None:
        lines = header_fields.values(head, "Forwarded")
        if not lines:
            return None
        hops = []
        for element in filter(
            str.strip, _split_unquoted_commas(b",".join(lines).decode("latin-1"))
        ):
            pairs = {
                name.lower(): value.strip('"') for name, value in _FORWARDED_PAIR.findall(element)
            }
            hops.append((pairs.get("for", ""), pairs.get("proto")))
        return self._nearest(hops)

    def _x_forwarded(self, head: bytes) -> tuple[str | None, str | None] | None:
        names = _list_members(header_fields.values(head, "X-Forwarded-For"))
        protos = _list_members(header_fields.values(head, "X-Forwarded-Proto"))
        if not names and not protos:
            return None
        if len(names) == len(protos):  # each proxy added to both
            return self._nearest(list(zip(names, protos, strict=True)))
        address = self._nearest([(name, None) for name in names])[0]
        return address, protos[-1].lower() if protos else None

    def _nearest(self, hops: list[tuple[str, str | None]]) -> tuple[str | None, str | None]:
        """The last hop that is none of our proxies (the first, if all are), and its protocol."""
        address: str | None = None
        proto: str | None = None
        for name, by in reversed(hops):
            bare = _parse_node_address(name)
            if bare is None:
                break
            address = bare
            proto = by.lower() if by else proto
            if not self._trusts(bare):
                break
        return address, proto

    def _trusts(self, address: str) -> bool:
        if address == "unix":
            return self._unix
        if not self._networks:
            return False
        parsed = ipaddress.ip_address(address)
        return any(parsed in network for network in self._networks)


def _list_members(lines: Sequence[bytes]) -> list[str]:
    """Return the members of a list field, without empty ones."""
    members = b",".join(lines).decode("latin-1").split(",")
    return [each.strip() for each in members if each.strip()]


def _split_unquoted_commas(text: str) -> list[str]:
    """Split at commas outside quotes."""
    return re.findall(r'(?:"(?:[^"\\]|\\.)*"|[^",])+', text)


def _parse_node_address(name: str) -> str | None:
    """The IP address in a node's name, which may have a port or brackets; None if it has none."""
    text = name.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)
