"""Client addresses: the peer of a connection, and the client that a trusted proxy reports."""

import ipaddress
import re
from collections.abc import Sequence

from httpserver.protocol import header_fields

_IPV4_MAPPED_PREFIX = "::ffff:"
# A Forwarded pair (RFC 7239, section 4): the value is a token or a quoted string.
_FORWARDED_PAIR = re.compile(r'[ \t]*([A-Za-z]+)=("(?:[^"\\]|\\.)*"|[^",; \t]*)[ \t]*(?:;|$)')


class Peer:
    """The remote end of a connection.

    `address` is an IP address, or "unix"; `proxies` is None unless the peer is a trusted proxy.
    """

    __slots__ = ("address", "proxies", "secure")

    def __init__(self, address: str, secure: bool, proxies: "TrustedProxies | None" = None) -> None:
        self.address = address
        self.secure = secure
        self.proxies = proxies


class TrustedProxies:
    """The proxies whose forwarding headers are trusted.

    `trusted` holds addresses, networks, and "unix" for all clients of a Unix socket. Raise
    ValueError for anything else.
    """

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self._trusts_unix = "unix" in trusted
        self._networks = [ipaddress.ip_network(each) for each in trusted if each != "unix"]

    def make_peer(self, address: str, secure: bool) -> Peer:
        """Return the peer at `address`; `secure` means TLS."""
        if address.startswith(_IPV4_MAPPED_PREFIX):
            # An IPv4 client of a dual-stack socket.
            address = _parse_node_address(address) or address
        return Peer(address, secure, self if self._is_trusted(address) else None)

    def resolve_client(self, peer: Peer, head: bytes) -> tuple[str, bool]:
        """Return the client's address, and whether it used TLS, from the proxy's headers.

        Hops are read from the right, up to the first untrusted one, because the client can forge
        everything before it. A proxy sets either `Forwarded` or `X-Forwarded-*` and passes on the
        other unchanged. If both are present and differ, neither is trusted.
        """
        reports = [
            each
            for each in (self._parse_forwarded(head), self._parse_x_forwarded(head))
            if each is not None
        ]
        address, proto = reports[0] if reports else (None, None)
        if len(reports) == 2 and reports[0] != reports[1]:
            address = address if address == reports[1][0] else None
            proto = proto if proto == reports[1][1] else "http"
        return address or peer.address, peer.secure if proto is None else proto == "https"

    def _parse_forwarded(self, head: bytes) -> tuple[str | None, str | None] | None:
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
        return self._nearest_untrusted(hops)

    def _parse_x_forwarded(self, head: bytes) -> tuple[str | None, str | None] | None:
        names = _list_members(header_fields.values(head, "X-Forwarded-For"))
        protos = _list_members(header_fields.values(head, "X-Forwarded-Proto"))
        if not names and not protos:
            return None
        if len(names) == len(protos):  # each proxy appended to both fields
            return self._nearest_untrusted(list(zip(names, protos, strict=True)))
        address = self._nearest_untrusted([(name, None) for name in names])[0]
        return address, protos[-1].lower() if protos else None

    def _nearest_untrusted(
        self, hops: list[tuple[str, str | None]]
    ) -> tuple[str | None, str | None]:
        """Return address and protocol of the last untrusted hop; the first if all are trusted."""
        address: str | None = None
        proto: str | None = None
        for node, hop_proto in reversed(hops):
            hop_address = _parse_node_address(node)
            if hop_address is None:
                break
            address = hop_address
            proto = hop_proto.lower() if hop_proto else proto
            if not self._is_trusted(hop_address):
                break
        return address, proto

    def _is_trusted(self, address: str) -> bool:
        if address == "unix":
            return self._trusts_unix
        if not self._networks:
            return False
        parsed = ipaddress.ip_address(address)
        return any(parsed in network for network in self._networks)


def _list_members(lines: Sequence[bytes]) -> list[str]:
    """Return the non-empty members of a comma-separated field."""
    members = b",".join(lines).decode("latin-1").split(",")
    return [each.strip() for each in members if each.strip()]


def _split_unquoted_commas(text: str) -> list[str]:
    """Split at the commas that are not inside a quoted string."""
    return re.findall(r'(?:"(?:[^"\\]|\\.)*"|[^",])+', text)


def _parse_node_address(node: str) -> str | None:
    """Return the IP address of a node (RFC 7239, section 6), which may have brackets and a port."""
    text = node.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return str(getattr(address, "ipv4_mapped", None) or address)
