"""Addresses that a click leads to."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.banners.click_target import add_query_argument, location_header


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example", "https://a.example?c=1"),
        ("https://a.example/", "https://a.example/?c=1"),
        ("https://a.example/p?x=2", "https://a.example/p?x=2&c=1"),
        ("https://a.example/p?", "https://a.example/p?c=1"),
        ("https://a.example/p?x=2&", "https://a.example/p?x=2&c=1"),
        ("https://a.example/p#part", "https://a.example/p?c=1#part"),
        ("https://a.example/p?x#part?y=3#z", "https://a.example/p?x&c=1#part?y=3#z"),
        ("https://a.example/p#?x", "https://a.example/p?c=1#?x"),
    ],
)
def test_an_argument_is_put_into_the_query_ahead_of_the_fragment(url: str, expected: str) -> None:
    assert add_query_argument(url, "c", "1") == expected


parts = st.text(
    st.characters(codec="utf-8", min_codepoint=33, exclude_characters="#?&\x7f"), max_size=8
)


@given(parts, st.none() | parts, st.none() | parts)
def test_whatever_an_address_has_stays_and_the_argument_is_read_last(
    path: str, query: str | None, fragment: str | None
) -> None:
    url = "https://a.example/" + path
    url += "" if query is None else "?q=" + query
    url += "" if fragment is None else "#" + fragment
    was, now = (
        urlsplit(location_header(url)),
        urlsplit(location_header(add_query_argument(url, "c", "1"))),
    )
    assert (now.netloc, now.path, now.fragment) == (was.netloc, was.path, was.fragment)
    before = parse_qsl(was.query, keep_blank_values=True)
    assert parse_qsl(now.query, keep_blank_values=True) == [*before, ("c", "1")]
    assert location_header(url).isascii()
