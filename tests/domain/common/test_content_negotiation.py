"""What a client prefers."""

import pytest

from domain.common.content_negotiation import accepts_coding, prefers_html

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    "accept",
    [
        CHROME,
        "text/html",
        "TEXT/HTML",
        "text/*",
        "text/html;charset=utf-8",
        "text/html;level=1;q=0.5",
        "text/html, */*;q=0.1",
        "text/html;q=0.9, application/json;q=0.8",
        "application/json;q=0, text/html;q=0.001",
        "text/html, application/json",
        "text/html, */*",
        "*/*;q=0.5, text/html",
        ",,text/html,",
        "nonsense, ;q=1, text/html",
        "text/html ; Q=1.000",
    ],
)
def test_a_page_is_preferred(accept: str) -> None:
    assert prefers_html(accept)


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "application/json",
        "application/problem+json",
        "application/json, text/plain, */*",
        "application/json, text/html",
        "application/json, text/html;q=0.9",
        "text/html;q=0.1, application/json",
        "text/html;q=0",
        "text/html;q=0, */*",
        "text/html;q=0.2, */*;q=0.5",
        "application/*, text/html;q=0.5",
        "text/html;q=2",
        "text/html;q=x",
        "text/html;q=0.1234",
        "text/html;q=",
        "text /html",
        "text/",
        "text/htmlx",
        "xtext/html",
        "application/xhtml+xml",
        "image/*",
        "html",
        "\x00",
        "text/html" * 1_000,
    ],
)
def test_json_is_preferred_or_nothing_is_said(accept: str | None) -> None:
    assert not prefers_html(accept)


def test_a_coding_is_accepted_where_it_is_named() -> None:
    for value in ("gzip", "GZIP", "deflate, gzip;q=0.1", "*", "br, *;q=0.1", "gzip;q=1, *;q=0"):
        assert accepts_coding(value, "gzip"), value
    for value in (None, "", "identity", "gzip;q=0", "gzip;q=0.000", "*;q=0", "gzip;q=0, *", "xgzip",
                  "gzipx", "br", "gzip;q=2", "gzip;q=-1"):  # fmt: skip
        assert not accepts_coding(value, "gzip"), value
