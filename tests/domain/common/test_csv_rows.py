"""Rows of imported files."""

from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.common.csv_rows import (
    LINE_PARSERS,
    MAX_INT64,
    CsvHeaderError,
    CsvLayout,
    CsvRowError,
    detect_layout,
    parse_click,
    parse_conversion,
    parse_impression,
    parse_revenue_micros,
    parse_target,
    row_parser,
)

ids = st.integers(0, MAX_INT64)


@given(ids, ids, ids)
def test_ids_of_64_bits_come_out_as_they_went_in(number: int, banner: int, campaign: int) -> None:
    assert parse_click(f"{number},{banner},{campaign}".encode()) == (number, banner, campaign)
    assert parse_impression(f"{banner},{campaign}".encode()) == (banner, campaign)


@given(st.integers(0, MAX_INT64))
def test_revenue_is_exact_to_the_micro(amount: int) -> None:
    text = f"{amount // 10**6}.{amount % 10**6:06}"
    assert parse_revenue_micros(text.encode()) == amount
    assert parse_conversion(f"1,2,{text}".encode()) == (1, 2, amount)


@given(st.decimals(0, 9_000_000_000_000, allow_nan=False, places=12), st.sampled_from("eE"))
def test_finer_revenue_is_rounded_half_to_even(amount: Decimal, e: str) -> None:
    with localcontext(prec=60):
        rounded = int((amount * 10**6).quantize(Decimal(1), ROUND_HALF_EVEN))
    assert parse_revenue_micros(f"{amount:f}".encode()) == rounded
    assert parse_revenue_micros(f"{amount:E}".replace("E", e).encode()) == rounded


@given(st.binary(max_size=60), st.sampled_from(sorted(LINE_PARSERS)))
def test_any_line_of_text_is_a_row_or_has_a_reason(line: bytes, kind: str) -> None:
    text = line.decode(errors="replace").encode()
    try:
        row = LINE_PARSERS[kind](text)
    except CsvRowError as error:
        assert str(error)
    else:
        numbers = [value for value in row if isinstance(value, int)]
        assert all(0 <= number <= MAX_INT64 for number in numbers)


@given(st.text("0123456789.eE+-naif_ ", max_size=12))
def test_revenue_is_taken_just_when_it_is_a_number_from_0_to_64_bits_of_micros(text: str) -> None:
    try:
        number = Decimal(text.replace("_", "x"))
        right = number.is_finite() and 0 <= number <= Decimal(MAX_INT64) / 10**6
    except ArithmeticError:
        right = False
    try:
        parse_revenue_micros(text.encode())
        taken = True
    except CsvRowError:
        taken = False
    assert taken == right


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"1,2", "2 columns instead of 3"),
        (b"1", "1 column instead of 3"),
        (b"1,2,3,4", "4 columns instead of 3"),
        (b"1,2,3,x", "4 columns instead of 3"),
        (b",2,3", "click_id is not a number"),
        (b"x,2,3", "click_id is not a number"),
        (b"1,2.5,3", "banner_id is not a whole number"),
        (b"1,2,1e3", "campaign_id is not a whole number"),
        (b"1,-2,3", "banner_id is negative"),
        (b"1,2,9223372036854775808", "campaign_id is beyond 64 bits"),
        (b"1,2," + b"9" * 5_000, "campaign_id is beyond 64 bits"),
        (b"1,1_0,3", "banner_id is not a number"),
        ("1,٣,3".encode(), "banner_id is not a number"),
        (b'1,"2,3', "its quotes are wrong: unexpected end of data"),
        (b'1,"2"0,3', "its quotes are wrong: ',' expected after '\"'"),
    ],
)
def test_a_click_that_is_not_right_says_why(line: bytes, reason: str) -> None:
    with pytest.raises(CsvRowError) as raised:
        parse_click(line)
    assert str(raised.value) == reason


@pytest.mark.parametrize(
    ("revenue", "reason"),
    [
        (b"-0.01", "revenue is negative"),
        (b"-1e-400", "revenue is negative"),
        (b"nan", "revenue is not finite"),
        (b"-Infinity", "revenue is not finite"),
        (b"", "revenue is not a number"),
        (b"1.2.3", "revenue is not a number"),
        (b"$1", "revenue is not a number"),
        (b"1e999999999", "revenue is too large"),
        (b"1" + b"0" * 5_000, "revenue is too large"),
        (b"9223372036854.775808", "revenue is too large"),
        (b"1e99999999999999999999", "revenue is out of range"),
    ],
)
def test_a_revenue_that_is_not_right_says_why(revenue: bytes, reason: str) -> None:
    with pytest.raises(CsvRowError) as raised:
        parse_conversion(b"1,2," + revenue)
    assert str(raised.value) == reason


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        (b"1.173893", 1_173_893),
        (b"2", 2_000_000),
        (b".5", 500_000),
        (b"1.", 1_000_000),
        (b"+1e-3", 1_000),
        (b"-0", 0),
        (b"0e99", 0),
        (b"0.0000005", 0),
        (b"0.0000015", 2),
        (b"0.00000050000000000000000000000000000000000000000001", 1),
        (b"1e-999999999", 0),
        (b"9223372036854.775807", MAX_INT64),
    ],
)
def test_revenue_in_every_form(text: bytes, amount: int) -> None:
    assert parse_revenue_micros(text) == amount


def test_blanks_signs_and_quotes_around_a_number_do_no_harm() -> None:
    assert parse_click(b' 1 ,"2", +3') == (1, 2, 3)
    assert parse_click(b"0001,0,00000000000000000000000000002") == (1, 0, 2)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "https://example.com:8443/path?a=1&b=2#c",
        "https://bücher.example/straße",
        "HTTPS://EXAMPLE.COM/",
    ],
)
def test_web_addresses_are_targets(url: str) -> None:
    assert parse_target(f"7,{url}".encode()) == (7, url)


def test_an_address_with_a_comma_stands_in_quotes() -> None:
    assert parse_target(b'7,"https://example.com/?q=1,2"') == (7, "https://example.com/?q=1,2")
    with pytest.raises(CsvRowError, match="3 columns instead of 2"):
        parse_target(b"7,https://example.com/?q=1,2")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("javascript:alert(1)", "neither http nor https"),
        ("ftp://example.com/", "neither http nor https"),
        ("//example.com/", "neither http nor https"),
        ("example.com", "neither http nor https"),
        ("", "neither http nor https"),
        ("https://", "names no host"),
        ("https:///path", "names no host"),
        ("https://example.com:port/", "not an address"),
        ("https://[::1/", "not an address"),
        ("https://example.com/a b", "a character"),
        ("https://example.com/\x7f", "a character"),
        ("https://example.com\\@evil.example/", "a character"),
        ("https://example.com/" + "a" * 4_000, "longer than 4000 characters"),
    ],
)
def test_what_is_no_web_address_is_no_target(url: str, reason: str) -> None:
    with pytest.raises(CsvRowError, match=reason):
        parse_target(f"7,{url}".encode())


@pytest.mark.parametrize(
    "line",
    [
        b"click_id,banner_id,campaign_id",
        b"\xef\xbb\xbfclick_id,banner_id,campaign_id",
        b'"click_id","banner_id","campaign_id"',
        b"Click_ID, banner_id , campaign_id",
    ],
)
def test_a_header_may_be_written_in_several_ways(line: bytes) -> None:
    assert detect_layout(line, "clicks") == CsvLayout(b",", (0, 1, 2), 3, 1)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "is empty"),
        (b"\n ,,\n", "is empty"),
        (b"1,2,3", "click_id, banner_id, campaign_id are missing in '1,2,3'"),
        (b"click_id,banner_id", "campaign_id is missing"),
        (b"click_id:banner_id:campaign_id", "commas, semicolons, tabs or vertical bars"),
        (b'"click_id,banner_id,campaign_id', "lacks its header"),
        (b"click_id,banner_id,campaign_id,banner_id", "the column banner_id twice"),
        (b"\xff\xfe,click_id", "banner_id, campaign_id are missing"),
    ],
)
def test_other_lines_are_no_header(line: bytes, words: str) -> None:
    with pytest.raises(CsvHeaderError, match=words):
        detect_layout(line, "clicks")


@pytest.mark.parametrize("delimiter", [b",", b";", b"\t", b"|"])
@pytest.mark.parametrize("ahead", [b"", b"\xef\xbb\xbf", b"\r\n\r\n", b"sep=%b\r\n"])
@pytest.mark.parametrize(
    ("header", "row"),
    [
        (b"click_id,banner_id,campaign_id", b"1,2,3"),
        (b"campaign_id,click_id,banner_id", b"3,1,2"),
        (b"day,campaign_id,note,banner_id,click_id", b'mon,3,"a b",2,1'),
        (b'"Click_ID", banner_id ,CAMPAIGN_ID,', b'"1", 2 ,3,'),
    ],
)
def test_columns_are_found_by_name_in_any_order(
    delimiter: bytes, ahead: bytes, header: bytes, row: bytes
) -> None:
    ahead = ahead % delimiter if b"%" in ahead else ahead
    found = detect_layout(ahead + header.replace(b",", delimiter) + b"\r\n", "clicks")
    assert (found.delimiter, found.line) == (delimiter, 1 + ahead.count(b"\n"))
    assert row_parser("clicks", found)(row.replace(b",", delimiter)) == (1, 2, 3)


def test_a_quoted_field_may_hold_the_delimiter() -> None:
    found = detect_layout(b"url;banner_id;note", "targets")
    parse = row_parser("targets", found)
    assert parse(b'"https://a.example/;b,c";7;"x;""y"""') == (7, "https://a.example/;b,c")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (b"1;2", "2 columns instead of 3"),
        (b"1;2;3;4", "4 columns instead of 3"),
        (b"1,2,3", "1 column instead of 3"),
        (b"1;2;3,5", "write decimals with a point, not a comma"),
        (b'1;"2;3', "quotes are wrong"),
    ],
)
def test_a_row_is_checked_against_its_header(row: bytes, words: str) -> None:
    parse = row_parser(
        "conversions", detect_layout(b"conversion_id;click_id;revenue", "conversions")
    )
    with pytest.raises(CsvRowError, match=words):
        parse(row)


def test_a_delimiter_behind_the_last_field_is_no_column() -> None:
    assert parse_click(b"1,2,3,") == parse_click(b"1,2,3, ,") == (1, 2, 3)
    with pytest.raises(CsvRowError, match="4 columns"):
        parse_click(b"1,2,3,x")
