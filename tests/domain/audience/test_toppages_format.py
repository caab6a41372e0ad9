import contextlib
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.audience import toppages_format
from domain.audience.toppages_format import (
    LEGACY_FORMAT,
    V3_FORMAT,
    InvalidTopPages,
    TopPagesReading,
    encode_toppages,
    parse_toppages,
)

PAGES = [("/a", "Same title", 12), ("/b", "Same title", 7), ("/c", "", 0)]


@pytest.mark.parametrize("version", [LEGACY_FORMAT, V3_FORMAT])
def test_what_is_told_is_read_again(version):
    found = parse_toppages(encode_toppages(PAGES, version), version)
    assert found == TopPagesReading(
        {"/a": 12, "/b": 7, "/c": 0}, {"/a": "Same title", "/b": "Same title"}
    )


def test_the_forms_are_those_of_the_field():
    assert json.loads(encode_toppages(PAGES[:1], LEGACY_FORMAT)) == [
        {"i": "Same title", "path": "/a", "visitors": 12}
    ]
    assert json.loads(encode_toppages(PAGES[:1], V3_FORMAT)) == {
        "pages": [{"path": "/a", "title": "Same title", "stats": {"people": 12}}]
    }


def test_what_else_a_server_tells_is_left_aside():
    body = b'[{"path":"/","visitors":3,"i":"T","sections":["x"]},{"path":"/","visitors":2}]'
    assert parse_toppages(body, LEGACY_FORMAT) == TopPagesReading({"/": 5}, {"/": "T"})
    body = b'{"site":1,"pages":[{"path":"/","title":null,"stats":{"people":3.0,"idle":1}}]}'
    assert parse_toppages(body, V3_FORMAT) == TopPagesReading({"/": 3}, {})


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"<html>", b"[1]", b"{}", b'[{"path":"/"}]', b'{"pages":[{"path":"/"}]}',
        b'[{"path":"/","visitors":-1}]', b'[{"path":"/","visitors":"many"}]', b"[" * 100_000,
        b'[{"path":7,"visitors":1}]', b'[{"path":"\xff","visitors":1}]', b'{"pages":{}}',
        b'[{"path":"/","visitors":1e300}]', b'[{"path":"/","visitors":NaN}]',
    ],
)  # fmt: skip
def test_what_tells_no_pages_is_refused(body):
    for version in (LEGACY_FORMAT, V3_FORMAT):
        with pytest.raises(InvalidTopPages):
            parse_toppages(body, version)


INVALID = [
    b'{"path":null,COUNT}',
    b"{COUNT}",
    b'{"path":"",COUNT}',
    b'{"path":7,COUNT}',
    b'{"path":["/x"],COUNT}',
    b"7",
    b"null",
    b'"/x"',
    b"[]",
    b'{"path":"/x"}',
    b'{"path":"/x","stats":null}',
    b'{"path":"/x","stats":[]}',
    b'{"path":"/x","visitors":null,"stats":{"people":null}}',
    b'{"path":"/x","visitors":-1,"stats":{"people":-1}}',
    b'{"path":"/x","visitors":1e300,"stats":{"people":1e300}}',
    b'{"path":"/x","visitors":NaN,"stats":{"people":NaN}}',
    b'{"path":"/x","visitors":-Infinity,"stats":{"people":Infinity}}',
    b'{"path":"/x","visitors":1%b,"stats":{"people":1%b}}' % (b"0" * 9_000, b"0" * 9_000),
    b'{"path":"/x","visitors":"many","stats":{"people":"many"}}',
    b'{"path":"/x","visitors":"nan","stats":{"people":"nan"}}',
    b'{"path":"/x","visitors":true,"stats":{"people":true}}',
    b'{"path":"/x","visitors":{},"stats":{"people":[1]}}',
    b'{"path":"/\\ud83d",COUNT}',
    b'{"path":"/\xff",COUNT}',
    b'{"path":"/\\u0000",COUNT}',
    b'{"path":"/a\\nb",COUNT}',
    b'{"path":"/%b",COUNT}' % (b"x" * 3_000),
]


def answer_of(version: str, *pages: bytes) -> bytes:
    """The response of a version with these pages, in which COUNT is one visitor."""
    count = b'"visitors":1' if version == LEGACY_FORMAT else b'"stats":{"people":1}'
    items = b",".join(page.replace(b"COUNT}", count + b"}") for page in pages)
    return b"[%b]" % items if version == LEGACY_FORMAT else b'{"pages":[%b]}' % items


@pytest.mark.parametrize("version", [LEGACY_FORMAT, V3_FORMAT])
@pytest.mark.parametrize("page", INVALID, ids=range(len(INVALID)))
def test_an_invalid_page_is_skipped_and_counted_and_the_rest_is_kept(page, version):
    good = b'{"path":"/","i":"Home","title":"Home",COUNT}'
    for pages in ((page, good), (good, page), (page, good, page)):
        found = parse_toppages(answer_of(version, *pages), version)
        assert found == TopPagesReading({"/": 1}, {"/": "Home"}, len(pages) - 1)
    with pytest.raises(InvalidTopPages):
        parse_toppages(answer_of(version, page), version)


@pytest.mark.parametrize(
    ("said", "count"),
    [
        (b"3", 3),
        (b"3.0", 3),
        (b"3.7", 4),
        (b'"12"', 12),
        (b'" 4.0 "', 4),
        (b"0", 0),
        (b"-0.0", 0),
        (b"1e3", 1_000),
        (b"1000000000", 1_000_000_000),
    ],
)
@pytest.mark.parametrize("version", [LEGACY_FORMAT, V3_FORMAT])
def test_a_count_may_be_an_average_or_text(said, count, version):
    page = b'{"path":"/","visitors":%b,"stats":{"people":%b}}' % (said, said)
    assert parse_toppages(answer_of(version, page), version) == TopPagesReading({"/": count}, {})


@pytest.mark.parametrize(
    ("said", "title"),
    [
        (b'"cut \\ud83d"', "cut \ufffd"),
        (b'"caf\xe9"', "caf\ufffd"),
        (b"2026", "2026"),
        (b"null", None),
        (b"[]", None),
        (b"{}", None),
        (b'""', None),
        (b'"a\\u0000b\\nc"', "a b c"),
        (b'"a\tb"', "a b"),
        (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
    ],
)
@pytest.mark.parametrize("version", [LEGACY_FORMAT, V3_FORMAT])
def test_an_odd_title_is_repaired_or_left_out(said, title, version):
    page = b'{"path":"/","i":%b,"title":%b,COUNT}' % (said, said)
    titles = {} if title is None else {"/": title}
    assert parse_toppages(answer_of(version, page), version) == TopPagesReading({"/": 1}, titles)


@pytest.mark.parametrize("version", [LEGACY_FORMAT, V3_FORMAT])
def test_a_response_is_read_in_any_unicode_encoding_and_unpacked(version):
    body, found = (
        encode_toppages(PAGES[:1], version),
        TopPagesReading({"/a": 12}, {"/a": "Same title"}),
    )
    assert parse_toppages(b"\xef\xbb\xbf" + body, version) == found
    assert parse_toppages(body.decode().encode("utf-16"), version) == found
    assert parse_toppages(gzip.compress(body), version) == found
    for broken in (gzip.compress(body)[:-9], gzip.compress(b" " * 9_000_000 + body), b"\x1f\x8bx"):
        with pytest.raises(InvalidTopPages):
            parse_toppages(broken, version)


def test_the_sum_over_a_duplicate_path_is_bounded():
    most = toppages_format.MAX_VISITORS
    assert parse_toppages(
        encode_toppages([("/", "", most), ("/", "", most)], V3_FORMAT), V3_FORMAT
    ).visitors == {"/": most}


@given(st.binary(max_size=200))
def test_nothing_raises_otherwise(body):
    for version in (LEGACY_FORMAT, V3_FORMAT):
        with contextlib.suppress(InvalidTopPages):
            parse_toppages(body, version)


def test_an_answer_is_taken_up_to_its_bounds(monkeypatch):
    monkeypatch.setattr(toppages_format, "MAX_TOPPAGES", 3)
    many = [(f"/{number}", "t" * 1_000, number) for number in range(5)]
    found = parse_toppages(
        encode_toppages([("/" * 3_000, "", 1), *many], LEGACY_FORMAT), LEGACY_FORMAT
    )
    assert found.skipped == 1
    assert set(found.visitors) == {"/0", "/1", "/2"}
    assert len(found.titles["/0"]) == toppages_format.MAX_TITLE_LENGTH
