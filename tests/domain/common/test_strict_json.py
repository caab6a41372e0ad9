"""JSON of untrusted bytes, against a slow reader of the same rules."""

import json
import math
from itertools import chain
from time import process_time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.common.strict_json import MAX_JSON_DEPTH, InvalidJson, decode_json
from domain.common.validation_errors import json_pointer
from tests.support.cpu_time import scaled_20_ms


class Refused(Exception):
    pass


def reference(body: bytes) -> Any:
    """The same rules by the standard library, a step at a time."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise Refused("twice")
        return dict(pairs)

    def whole(text: str) -> int:
        if not -(2**63) <= int(text) < 2**63:
            raise Refused("beyond")
        return int(text)

    def real(text: str) -> float:
        if not math.isfinite(float(text)):
            raise Refused("infinite")
        return float(text)

    def constant(text: str) -> None:
        raise Refused(text)

    def walk(value: Any, level: int) -> None:
        if isinstance(value, str):
            value.encode()
            if "\0" in value:
                raise Refused("NUL")
        elif isinstance(value, dict | list):
            if level == MAX_JSON_DEPTH:
                raise Refused("levels")
            parts = value if isinstance(value, list) else chain(value, value.values())
            for part in parts:
                walk(part, level + 1)

    try:
        value = json.loads(
            body.decode(),
            object_pairs_hook=once,
            parse_int=whole,
            parse_float=real,
            parse_constant=constant,
        )
        walk(value, 0)
    except (ValueError, RecursionError) as error:
        raise Refused from error
    return value


def agree(body: bytes) -> None:
    """Both take it and read the same, or both refuse it."""
    try:
        expected = reference(body)
    except Refused:
        with pytest.raises(InvalidJson) as refusal:
            decode_json(body)
        assert str(refusal.value)
    else:
        assert repr(decode_json(body)) == repr(expected)


TAKEN = [
    b"{}",
    b" \t\r\n[ ] ",
    b'"\\ud83d\\ude00\xf0\x9f\x98\x80"',
    b'"\\\\u0000"',
    b'"\\\\\\\\u0000 \\\\"',
    b'{"\\"":1,"\\\\":2,"\\\\\\"":3}',
    b'{"a":{"a":{"a":1}}}',
    b'["a","a",{"a":"a"}]',
    b'"9999999999999999999999"',
    b'{"9999999999999999999999":1}',
    b"9223372036854775807",
    b"-9223372036854775808",
    b"9999999999999999999999.0",
    b"9999999999999999999999e1",
    b"0.9999999999999999999999",
    b"-0.9999999999999999999999E-20",
    b"1e0000000000000000000001",
    b"1e+0000000000000000000001",
    b"1e-400",
    b"-0",
    b"[" * 32 + b"]" * 32,
    b'{"a":' * 32 + b"1" + b"}" * 32,
    b'"' + b"[" * 100 + b'"',
    b'{"\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[":[]}',
    b'"\x7f\xe2\x80\xa8"',
    b"null",
]
# What is wrong, what is said of it, and where.
REFUSED = [
    (b"", "is empty", ""),
    (b" \n", "is empty", ""),
    (b"{", "is not JSON: it ends too early", ""),
    (b'"\\ud800"', "is not JSON", ""),
    (b'"\\ud800\\u0041"', "is not JSON: invalid utf-16 surrogate pair (byte 13)", ""),
    (b'"\\udc00"', "is not JSON: invalid utf-16 surrogate pair (byte 7)", ""),
    (b'\xef\xbb\xbf{"a":1}', "is not JSON: it begins with a byte order mark (byte 0)", ""),
    (b'{"a":"\xff"}', "is not UTF-8 (byte 6)", ""),
    (b'"\xc0\x80"', "is not UTF-8 (byte 1)", ""),
    (b'"\xed\xa0\x80"', "is not UTF-8 (byte 1)", ""),
    ('{"a":1}'.encode("utf-16"), "is not UTF-8 (byte 0)", ""),
    ('{"a":1}'.encode("utf-16-le"), "is not JSON: ", ""),
    (b"NaN", "is not JSON: invalid character (byte 0)", ""),
    (b"[Infinity]", "is not JSON: invalid character (byte 1)", ""),
    (b"-Infinity", "is not JSON: invalid character (byte 1)", ""),
    (b'{"a":1e400}', "holds a number that is out of range", ""),
    (b"1" * 5000, "holds a number that is out of range", ""),
    (b'"\x00"', "is not JSON: invalid character (byte 1)", ""),
    (b"{}\x00", "is not JSON: trailing characters (byte 3)", ""),
    (b"{} {}", "is not JSON: trailing characters (byte 4)", ""),
    (b"[1,]", "is not JSON: trailing comma in array (byte 3)", ""),
    (b"{'a':1}", "is not JSON: object keys must be strings (byte 1)", ""),
    (b'"\n"', "is not JSON: invalid character (byte 1)", ""),
    (b"// x\n1", "is not JSON: invalid character (byte 0)", ""),
    (b'{"a":["x","\\u0000"]}', "holds the character NUL", "/a/1"),
    (b'{"a":{"b\\u0000":1}}', "holds the character NUL", "/a/b\0"),
    (b'"\\\\\\u0000"', "holds the character NUL", ""),
    (b'{"a":{"n":9223372036854775808}}', "is a whole number beyond 64 bits", "/a/n"),
    (b'["0",-9223372036854775809]', "is a whole number beyond 64 bits", "/1"),
    (b"18446744073709551616", "is a whole number beyond 64 bits", ""),
    (b"[" * 33 + b"]" * 33, "has more than 32 levels", "/0" * 32),
    (b'{"a":' * 33 + b"1" + b"}" * 33, "has more than 32 levels", "/a" * 32),
    (b"[" * 10_000, "has more than 32 levels", ""),
    (b"[" + b"[]," * 10_000 + b"1]", "has more than 10000 arrays and objects", ""),
    (b'{"a":1,"a":1}', "holds an object that names a member twice: 'a'", ""),
    (b'[{"b":{"a":1,"\\u0061":{}}}]', "holds an object that names a member twice: 'a'", ""),
    (b'{"\\"":1,"\\u0022":2}', "holds an object that names a member twice: '\"'", ""),
]


@pytest.mark.parametrize("body", TAKEN, ids=repr)
def test_json_by_the_rules_is_read(body: bytes) -> None:
    reference(body)
    agree(body)


@pytest.mark.parametrize(("body", "words", "where"), REFUSED, ids=lambda each: repr(each)[:40])
def test_json_against_the_rules_is_refused_with_the_reason_and_the_place(
    body: bytes, words: str, where: str
) -> None:
    with pytest.raises(InvalidJson) as refusal:
        decode_json(body)
    assert refusal.value.fault.message.startswith(words)
    assert refusal.value.fault.pointer == where
    if "arrays and objects" not in words:
        with pytest.raises(Refused):
            reference(body)


def test_brackets_in_strings_are_no_arrays() -> None:
    agree(b'["' + b"[{" * 10_000 + b'", "\\"[' + b"[" * 20_000 + b'"]')
    agree(b"[" + b"[]," * 9_998 + b'"]"]')


texts = st.text(st.sampled_from('a"\\/u0[]{}:,\0\ud83d\ude00\ud800é\u2028\n9'), max_size=6)
numbers = st.one_of(
    st.integers(-(2**65), 2**65),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64]),
    st.floats(),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda parts: st.lists(parts, max_size=4) | st.dictionaries(texts, parts, max_size=4),
    max_leaves=12,
)


@given(values, st.booleans(), st.sampled_from([None, 1]), st.integers(0, 40))
def test_any_value_is_read_or_refused_as_by_the_slow_reader(
    value: Any, escaped: bool, indent: int | None, levels: int
) -> None:
    for _ in range(levels):
        value = [value] if levels % 2 else {"a": value}
    text = json.dumps(value, ensure_ascii=escaped, indent=indent)
    agree(text.encode(errors="surrogatepass"))


PIECES = (
    rb"""" \ \u0000 u0061 a [ ] { } : , 1 - . "a": "a" [] {} {"a":1 9223372036854775808 e5 true"""
    rb""" NaN \" \\ \ud800 \udc00 00000000000000000000"""
).split(b" ")
pieces = st.sampled_from([*PIECES, b" ", b"\xff", b"\xc3\xa9", b"\x00"])


@given(st.lists(pieces, max_size=12).map(b"".join))
@example(b'{"a":1,"a":1}')
@example(b'["a":1]')
def test_any_bytes_are_read_or_refused_as_by_the_slow_reader(body: bytes) -> None:
    agree(body)


@given(values, st.data())
def test_a_member_named_twice_is_refused_wherever_it_stands(value: Any, data: Any) -> None:
    name = json.dumps(data.draw(texts), ensure_ascii=data.draw(st.booleans()))
    other = json.dumps(json.loads(name), ensure_ascii=data.draw(st.booleans()))
    text = f'{{{name}: 1, "é": {json.dumps(value)}, {other}: [2]}}'
    agree(f"[{text}]".encode(errors="surrogatepass"))


SIZE = 256 * 1024
HOSTILE = {
    "empty strings": b"[" + b'"",' * (SIZE // 3) + b"1]",
    "empty lists": b"[" + b"[]," * (SIZE // 3) + b"1]",
    "objects": b"[" + b'{"":0},' * (SIZE // 7) + b"1]",
    "members": b"{" + b",".join(b'"%x":0' % n for n in range(SIZE // 10)) + b"}",
    "members of one name": b"{" + b'"":0,' * (SIZE // 5) + b'"":0}',
    "numbers": b"[" + b"1," * (SIZE // 2) + b"1]",
    "large numbers": b"[" + b"1111111111111111111," * (SIZE // 20) + b"1]",
    "larger numbers": b"[" + b"1111111111111111111," * (SIZE // 20) + b"9999999999999999999]",
    "one number": b"1" * SIZE,
    "one fraction": b"0." + b"1" * SIZE,
    "fractions": b"[" + b"0.1111111111111111111," * (SIZE // 22) + b"1]",
    "opened": b"[" * SIZE,
    "deep": b"[" * (SIZE // 2) + b"]" * (SIZE // 2),
    "900 levels": b"[" * 900 + b"]" * 900,
    "wide and deep": b"[" + (b"[" * 40 + b"]" * 40 + b",") * (SIZE // 81) + b"1]",
    "backslashes": b'"' + b"\\\\" * (SIZE // 2) + b'"',
    "quotes": b'"' + b'\\"' * (SIZE // 2) + b'"',
    "NULs": b'"' + b"\\u0000" * (SIZE // 6) + b'"',
    "a NUL at the end": b"[" + b"1," * (SIZE // 2) + b'"\\u0000"]',
    "escapes": b'"' + b"\\ud83d\\ude00" * (SIZE // 12) + b'"',
    "not UTF-8 at the end": b'"' + b"\xc3\xa9" * (SIZE // 2) + b'\xff"',
    "a long name twice": b'{"%b":1,"%b":2}' % (b"a" * (SIZE // 2), b"a" * (SIZE // 2)),
    "blanks": b" " * SIZE + b"1",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_body_of_256_kib_takes_longer_than_20_ms(kind: str) -> None:
    def seconds() -> float:
        began = process_time()
        try:
            decode_json(HOSTILE[kind])
        except InvalidJson as refusal:
            assert len(str(refusal)) < 300 and len(refusal.fault.pointer) < 1000
        return process_time() - began

    # The least of a few: what the machine did meanwhile is not the reader's.
    assert min(seconds() for _ in range(5)) < scaled_20_ms()


def test_a_pointer_is_written_as_rfc_6901_has_it() -> None:
    assert json_pointer([]) == ""
    assert json_pointer(["a/b", "m~n", "", 0]) == "/a~1b/m~0n//0"
    assert json_pointer(["a", "b" * 201, "c"]) == "/a"
