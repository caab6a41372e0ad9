"""Strict JSON of untrusted bytes.

msgspec rejects invalid JSON (RFC 8259): other encodings than UTF-8, a byte order mark, NaN and
Infinity, lone surrogates, raw control characters, numbers beyond a double, more than one value.
This module rejects more: NUL as an escape, more than 32 levels, integers beyond 64 bits (signed),
and duplicate members of an object, of which each parser may keep a different one (RFC 8259,
section 4). It also rejects more than 10,000 arrays and objects, as each costs the garbage
collector. All checks run in C in linear time; only the search for an error's position runs in
Python, within bounds.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from domain.common.validation_errors import FieldError, json_pointer

MAX_JSON_DEPTH = 32
MAX_JSON_CONTAINERS = 10_000
MIN_INT64, MAX_INT64 = -(2**63), 2**63 - 1
# Maps every digit to 0, so that a substring search finds long numbers.
DIGITS_TO_ZERO = bytes(48 if 48 <= byte < 58 else byte for byte in range(256))
LONG_NUMBER = b"0" * 19

_decode_any = msgspec.json.Decoder().decode
_encode_json = msgspec.json.Encoder().encode
# Delete all but brackets, and make them one kind.
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_BRACES_TO_BRACKETS = bytes.maketrans(b"{}", b"[]")
# An integer of 19 digits or more; not the digits of a fraction or an exponent.
_LONG_INTEGER = re.compile(rb"(?<![0-9.eE+\-])-?[0-9]{19,}+(?![.eE])")
_BYTE_POSITION = re.compile(r" \(byte (\d+)\)$")
# Bounds of the search for an error's position (values) and for a duplicate's name (bytes).
_MAX_SEARCHED_VALUES = 10_000
_MAX_NAMED_BYTES = 16_384


class InvalidJson(ValueError):
    """Bytes that are not valid strict JSON; `fault` has the reason and the position."""

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(message)
        self.fault = FieldError(where, message)


def decode_json(body: bytes) -> Any:
    """Return the decoded value of `body`. Raises `InvalidJson`."""
    if (
        _count_brackets(body) > MAX_JSON_CONTAINERS
        and _count_brackets(_outside_strings(_without_escapes(body))) > MAX_JSON_CONTAINERS
    ):
        raise InvalidJson(f"has more than {MAX_JSON_CONTAINERS} arrays and objects")
    try:
        value = _decode_any(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise decode_error(body, error) from None
    check_json(body, value)
    return value


def check_json(body: bytes, value: Any) -> None:
    """Raise `InvalidJson` if `body` breaks a rule of this module; `value` is its decoded value."""
    # Without escaped backslashes and quotes, every quote begins or ends a string.
    bare = _without_escapes(body)
    if _count_brackets(body) > MAX_JSON_DEPTH or LONG_NUMBER in body.translate(DIGITS_TO_ZERO):
        outside = _outside_strings(bare)
        brackets = outside.translate(_BRACES_TO_BRACKETS, _NOT_BRACKETS)
        for _ in range(MAX_JSON_DEPTH):
            brackets = brackets.replace(b"[]", b"")
        if brackets:
            raise InvalidJson(
                f"has more than {MAX_JSON_DEPTH} levels", _find_pointer(value, _is_too_deep)
            )
        for match in _LONG_INTEGER.finditer(outside):
            # A sign and 20 digits are out of range already: do not convert more.
            if not MIN_INT64 <= int(match[0][:21]) <= MAX_INT64:
                raise InvalidJson(
                    "is a whole number beyond 64 bits", _find_pointer(value, _is_beyond_int64)
                )
    if b"\\u0000" in bare:
        raise InvalidJson("holds the character NUL", _find_pointer(value, _has_nul))
    # A duplicate member replaces the first one, so that the encoded value has fewer strings.
    if bare.count(b'"') != _without_escapes(_encode_json(value)).count(b'"'):
        raise InvalidJson(f"holds an object that names a member twice{_duplicate_member(body)}")


def decode_error(body: bytes, error: Exception) -> InvalidJson:
    """Return the `InvalidJson` that describes an exception of msgspec for `body`."""
    if isinstance(error, RecursionError):
        return InvalidJson(f"has more than {MAX_JSON_DEPTH} levels")
    try:
        body.decode()
    except UnicodeDecodeError as wrong:
        return InvalidJson(f"is not UTF-8 (byte {wrong.start})")
    text = str(error)
    position = _BYTE_POSITION.search(text)
    if "out of range" in text:
        return InvalidJson("holds a number that is out of range")
    if not position:
        return InvalidJson("is not JSON: it ends too early" if body.strip() else "is empty")
    if body.startswith(b"\xef\xbb\xbf"):
        return InvalidJson("is not JSON: it begins with a byte order mark (byte 0)")
    reason = text[: position.start()].removeprefix("JSON is malformed: ")
    return InvalidJson(f"is not JSON: {reason} (byte {position[1]})")


def _count_brackets(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _outside_strings(bare: bytes) -> bytes:
    """Return the text outside of strings; `bare` has no escapes."""
    return b"".join(bare.split(b'"')[::2])


def _without_escapes(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    return text.replace(b"\\\\", b"").replace(b'\\"', b"")


JsonPath = tuple[str | int, ...]


def _find_pointer(value: Any, is_invalid: Callable[[JsonPath, Any], bool]) -> str:
    """Return the pointer to the first invalid part of `value`; "" if the search ends before it."""
    waiting: list[Iterator[tuple[JsonPath, Any]]] = [iter([((), value)])]
    for _ in range(_MAX_SEARCHED_VALUES):
        path, part = next(waiting[-1], (None, None))
        if path is None:
            waiting.pop()
            if not waiting:
                break
        elif is_invalid(path, part):
            return json_pointer(path)
        elif isinstance(part, dict):
            waiting.append(_member_paths(path, part.items()))
        elif isinstance(part, list):
            waiting.append(_member_paths(path, enumerate(part)))
    return ""


def _member_paths(
    path: JsonPath, parts: Iterable[tuple[Any, Any]]
) -> Iterator[tuple[JsonPath, Any]]:
    return (((*path, name), part) for name, part in parts)


def _is_too_deep(path: JsonPath, part: Any) -> bool:
    return len(path) == MAX_JSON_DEPTH and isinstance(part, dict | list)


def _is_beyond_int64(_: JsonPath, part: Any) -> bool:
    return isinstance(part, int) and not MIN_INT64 <= part <= MAX_INT64


def _has_nul(path: JsonPath, part: Any) -> bool:
    named = path[-1] if path else ""
    return any(isinstance(each, str) and "\0" in each for each in (named, part))


def _duplicate_member(body: bytes) -> str:
    """Return ": " and the name of the duplicate member; "" if `body` is too long to search."""
    if len(body) > _MAX_NAMED_BYTES:
        return ""

    def check_names(pairs: list[tuple[str, Any]]) -> None:
        names = Counter(name for name, _ in pairs)
        name, count = names.most_common(1)[0] if names else ("", 0)
        if count > 1:
            raise _DuplicateMember(name)

    try:
        json.loads(body, object_pairs_hook=check_names)
    except _DuplicateMember as duplicate:
        return f": {str(duplicate)[:100]!r}"
    return ""


class _DuplicateMember(Exception):
    pass
