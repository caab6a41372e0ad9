"""One rule for how hosts are written and compared."""

import pytest

from domain.common import hosts
from domain.common.hosts import canonical_host, host_of_origin, matching_host


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("www.example.com", "www.example.com"),
        (" WWW.Example.COM. ", "www.example.com"),
        ("example.com.:8080", "example.com:8080"),
        ("localhost:3000", "localhost:3000"),
        ("localhost:03000", "localhost:3000"),
        ("127.0.0.1:80", "127.0.0.1:80"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example:8080", "xn--bcher-kva.example:8080"),
        ("bu\u0308cher.example", "xn--bcher-kva.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("\u30c6\u30b9\u30c8\u3002example", "xn--zckzah.example"),
        ("[::1]", "[::1]"),
        ("::1", "[::1]"),
        ("[2001:DB8:0:0:0:0:0:1]:8443", "[2001:db8::1]:8443"),
        ("my_host.internal", "my_host.internal"),
    ],
)
def test_a_host_has_one_canonical_form(text: str, host: str) -> None:
    assert canonical_host(text) == host
    assert canonical_host(host) == host


@pytest.mark.parametrize(
    "text",
    ["", ".", "a..b", "https://example.com", "example.com/path", "user@example.com", "-a.example",
     "a" * 300, "a" * 64 + ".example", "example.com:0", "example.com:65536", "example.com:",
     "example.com:80:80", "[::1", "[::1]x", "[fe80::1%eth0]", "[1.2.3.4]", "a b", "a\nb", "*",
     "a?b", "a#b", "[]", ":80", "\ud800.example"],
)  # fmt: skip
def test_what_is_not_a_host_has_none(text: str) -> None:
    assert canonical_host(text) is None


@pytest.mark.parametrize(
    ("host", "entry"),
    [
        ("localhost:3000", "localhost"),
        ("localhost", "localhost"),
        ("[::1]:3000", "[::1]"),
        ("shop.example", "shop.example:443"),
        ("shop.example:443", "shop.example:443"),
        ("old.example", "old.example:80"),
        ("dev.example:8080", "dev.example:8080"),
        ("dev.example", None),
        ("dev.example:8081", None),
        ("shop.example:8080", None),
        ("www.localhost", None),
        ("[::2]", None),
    ],
)
def test_an_entry_without_a_port_covers_every_port(host: str, entry: str | None) -> None:
    hosts = {"localhost", "[::1]", "shop.example:443", "old.example:80", "dev.example:8080"}
    assert matching_host(host, hosts) == entry


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://www.example.com", "www.example.com"),
        ("http://localhost:3000", "localhost:3000"),
        ("http://[::1]:3000", "[::1]:3000"),
        ("null", None),
        ("", None),
        ("file://", None),
        ("chrome-extension://abcdef", None),
        ("https://user@www.example.com", None),
        ("https://www.example.com/path", None),
    ],
)
def test_an_origin_has_the_host_of_a_web_page(origin: str, host: str | None) -> None:
    assert host_of_origin(origin) == host


def test_what_is_too_long_is_not_kept() -> None:
    before = hosts._cached_canonical_host.cache_info().currsize
    for number in range(10):
        assert canonical_host(f"{number}" * 10_000) is None
        assert host_of_origin(f"https://{number}" + "a" * 10_000) is None
    assert hosts._cached_canonical_host.cache_info().currsize == before
