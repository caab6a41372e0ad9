"""Client address behind trusted and untrusted proxies."""

import pytest

from httpserver.protocol.peers import TrustedProxies

PROXIES = TrustedProxies(["10.0.0.0/8", "::1", "unix"])


def client_of(address: str, *lines: str, secure: bool = False) -> tuple[str, bool]:
    head = "\r\n".join(["GET / HTTP/1.1", "Host: a", *lines, "", ""]).encode()
    peer = PROXIES.make_peer(address, secure)
    if peer.proxies is None:
        return peer.address, peer.secure
    return peer.proxies.resolve_client(peer, head)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ((), ("10.0.0.1", False)),
        (("X-Forwarded-For: 192.0.2.1",), ("192.0.2.1", False)),
        (("X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: HTTPS"), ("192.0.2.1", True)),
        (("X-Forwarded-Proto: https",), ("10.0.0.1", True)),
        # Entries left of the first untrusted address are that client's claim.
        (("X-Forwarded-For: 1.2.3.4, 192.0.2.1",), ("192.0.2.1", False)),
        (("X-Forwarded-For: 1.2.3.4, 192.0.2.1, 10.9.9.9",), ("192.0.2.1", False)),
        (("X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 192.0.2.1"), ("192.0.2.1", False)),
        (("X-Forwarded-For: 10.1.1.1, 10.2.2.2",), ("10.1.1.1", False)),
        (("X-Forwarded-For: 192.0.2.1:4711",), ("192.0.2.1", False)),
        (("X-Forwarded-For: nonsense, 10.2.2.2",), ("10.2.2.2", False)),
        (("X-Forwarded-For: nonsense",), ("10.0.0.1", False)),
        (("X-Forwarded-For: ,",), ("10.0.0.1", False)),
        (("X-Forwarded-For: 192.0.2.1, ,",), ("192.0.2.1", False)),
        (("X-Forwarded-For:", "X-Forwarded-For: \t192.0.2.1 "), ("192.0.2.1", False)),
        (("X-Forwarded-For: 192.0.2.1", "x-forwarded-for: 10.1.1.1"), ("192.0.2.1", False)),
        (("X-Forwarded-For: 2001:db8::1",), ("2001:db8::1", False)),
        (("X-Forwarded-For: [2001:db8::1]",), ("2001:db8::1", False)),
        (("X-Forwarded-For: [2001:db8::1]:443",), ("2001:db8::1", False)),
        (('X-Forwarded-For: "[2001:db8::1]:443"',), ("2001:db8::1", False)),
        (("X-Forwarded-For: ::ffff:192.0.2.1",), ("192.0.2.1", False)),
        (("X-Forwarded-For: unknown",), ("10.0.0.1", False)),
        (("X-Forwarded-For: 192.0.2.1, unknown",), ("10.0.0.1", False)),
        (("X-Forwarded-For: unknown, 192.0.2.1",), ("192.0.2.1", False)),
        (("X-Forwarded-For: 192.0.2.1.9",), ("10.0.0.1", False)),
        (("X-Forwarded-For: \xe4",), ("10.0.0.1", False)),
        (("X-Forwarded-Proto: https",), ("10.0.0.1", True)),
        (("X-Forwarded-Proto: http, https",), ("10.0.0.1", True)),
        (("X-Forwarded-Proto: https", "X-Forwarded-Proto: http"), ("10.0.0.1", False)),
        (("X-Forwarded-Proto: HTTPS ,",), ("10.0.0.1", True)),
        (("X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: http, HTTPS"), ("192.0.2.1", True)),
        # Two trusted proxies, each of which adds its protocol.
        (
            ("X-Forwarded-For: 192.0.2.1, 10.1.1.1", "X-Forwarded-Proto: https, http"),
            ("192.0.2.1", True),
        ),
        # The client's forged entry comes first.
        (
            ("X-Forwarded-For: 1.2.3.4, 192.0.2.1", "X-Forwarded-Proto: https, http"),
            ("192.0.2.1", False),
        ),
        (("Forwarded: for=192.0.2.1;proto=https, ,",), ("192.0.2.1", True)),
        (("Forwarded: for=unknown;proto=https",), ("10.0.0.1", False)),
        (("Forwarded: for=192.0.2.1;proto=https",), ("192.0.2.1", True)),
        (('Forwarded: for="[2001:db8::1]:47", For="10.0.0.9"',), ("2001:db8::1", False)),
        (('Forwarded: by=x;for="1.2.3.4, 5.6.7.8", for=192.0.2.1',), ("192.0.2.1", False)),
        (("Forwarded: for=_hidden",), ("10.0.0.1", False)),
        (("Forwarded: for=192.0.2.1", "X-Forwarded-For: 192.0.2.1"), ("192.0.2.1", False)),
        # A proxy sets one of the two fields; the client forged the other.
        (("Forwarded: for=1.2.3.4", "X-Forwarded-For: 192.0.2.1"), ("10.0.0.1", False)),
        (("Forwarded: for=1.2.3.4;proto=https", "X-Forwarded-For: 1.2.3.4"), ("1.2.3.4", False)),
    ],
)
def test_a_trusted_proxy_sets_the_client_address(
    lines: tuple[str, ...], expected: tuple[str, bool]
) -> None:
    assert client_of("10.0.0.1", *lines) == expected
    # An untrusted client sets nothing.
    assert client_of("192.0.2.77", *lines) == ("192.0.2.77", False)
    assert client_of("192.0.2.77", *lines, secure=True) == ("192.0.2.77", True)


def test_a_trusted_proxy_may_connect_by_any_address_family() -> None:
    line = "X-Forwarded-For: 192.0.2.1"
    assert client_of("::1", line) == ("192.0.2.1", False)
    assert client_of("unix", line) == ("192.0.2.1", False)
    assert client_of("::ffff:10.0.0.1", line) == ("192.0.2.1", False)
    assert TrustedProxies(["10.0.0.0/8"]).make_peer("unix", secure=False).proxies is None
