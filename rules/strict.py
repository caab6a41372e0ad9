"""Strict JSON of untrusted bytes.

msgspec refuses what is no JSON (RFC 8259): other encodings than UTF-8, a byte order mark, NaN and
Infinity, lone surrogates, raw control characters, numbers beyond a double, more than one value.
What it takes beyond our rules is refused here: NUL as an escape, more than 32 levels, integers
beyond 64 bits (signed), and a member named twice in one object, of which every reader may see
another one (RFC 8259, 4). So are more than 10,000 arrays and objects, each of which costs the
garbage collector. All checks are made in C, in time that grows with the length alone; only the
place of what is wrong is looked for in Python, within bounds.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from rules.faults import Fault, pointer

LEVELS = 32
CONTAINERS = 10_000
SMALLEST, LARGEST = -(2**63), 2**63 - 1
# Every digit as 0, so that a long run of digits is found by a plain search.
ZEROS = bytes(48 if 48 <= byte < 58 else byte for byte in range(256))
LONG = b"0" * 19

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
# Leave brackets alone, all of one kind.
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
# A whole number of 19 digits or more; the digits of a fraction or an exponent are none.
_INTEGER = re.compile(rb"(?<![0-9.eE+\-])-?[0-9]{19,}+(?![.eE])")
_BYTE = re.compile(r" \(byte (\d+)\)$")
# So many values are looked at to tell where something is, and so many bytes to tell its name.
_SOUGHT = 10_000
_NAMED = 16_384


class NotJson(ValueError):
    """Bytes that are not JSON as it is read here; `fault` says what is wrong, and where."""

    def __init__(self, message: str, where: str = "") -> None:
        super().__init__(message)
        self.fault = Fault(where, message)


def decode(body: bytes) -> Any:
    """The value that `body` holds; raises `NotJson`."""
    if _brackets(body) > CONTAINERS and _brackets(_outside(_bare(body))) > CONTAINERS:
        raise NotJson(f"has more than {CONTAINERS} arrays and objects")
    try:
        value = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise objection(body, error) from None
    judge(body, value)
    return value


def judge(body: bytes, value: Any) -> None:
    """Raise `NotJson` if `body`, from which msgspec made `value`, breaks a rule of ours."""
    # Without escaped backslashes and quotes, every quote begins or ends a string.
    bare = _bare(body)
    if _brackets(body) > LEVELS or LONG in body.translate(ZEROS):
        outside = _outside(bare)
        brackets = outside.translate(_ONE_KIND, _NO_BRACKETS)
        for _ in range(LEVELS):
            brackets = brackets.replace(b"[]", b"")
        if brackets:
            raise NotJson(f"has more than {LEVELS} levels", _place(value, _is_too_deep))
        for match in _INTEGER.finditer(outside):
            # More characters than these are beyond anyway.
            if not SMALLEST <= int(match[0][:21]) <= LARGEST:
                raise NotJson("is a whole number beyond 64 bits", _place(value, _is_beyond))
    if b"\\u0000" in bare:
        raise NotJson("holds the character NUL", _place(value, _has_nul))
    # A member named again replaces the first one, so that there are fewer strings left.
    if bare.count(b'"') != _bare(_encode(value)).count(b'"'):
        raise NotJson(f"holds an object that names a member twice{_named_twice(body)}")


def objection(body: bytes, error: Exception) -> NotJson:
    """What msgspec's refusal of `body` says to the sender."""
    if isinstance(error, RecursionError):
        return NotJson(f"has more than {LEVELS} levels")
    try:
        body.decode()
    except UnicodeDecodeError as wrong:
        return NotJson(f"is not UTF-8 (byte {wrong.start})")
    said = str(error)
    place = _BYTE.search(said)
    if "out of range" in said:
        return NotJson("holds a number that is out of range")
    if not place:
        return NotJson("is not JSON: it ends too early" if body.strip() else "is empty")
    if body.startswith(b"\xef\xbb\xbf"):
        return NotJson("is not JSON: it begins with a byte order mark (byte 0)")
    reason = said[: place.start()].removeprefix("JSON is malformed: ")
    return NotJson(f"is not JSON: {reason} (byte {place[1]})")


def _brackets(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _outside(bare: bytes) -> bytes:
    """What stands outside of strings."""
    return b"".join(bare.split(b'"')[::2])


def _bare(text: bytes) -> bytes:
    if b"\\" not in text:
        return text
    return text.replace(b"\\\\", b"").replace(b'\\"', b"")


Path = tuple[str | int, ...]


def _place(value: Any, wrong: Callable[[Path, Any], bool]) -> str:
    """Where the first part of `value` is that is `wrong`; the whole, if it is far into it."""
    waiting: list[Iterator[tuple[Path, Any]]] = [iter([((), value)])]
    for _ in range(_SOUGHT):
        path, part = next(waiting[-1], (None, None))
        if path is None:
            waiting.pop()
            if not waiting:
                break
        elif wrong(path, part):
            return pointer(path)
        elif isinstance(part, dict):
            waiting.append(_members(path, part.items()))
        elif isinstance(part, list):
            waiting.append(_members(path, enumerate(part)))
    return ""


def _members(path: Path, parts: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Path, Any]]:
    return (((*path, name), part) for name, part in parts)


def _is_too_deep(path: Path, part: Any) -> bool:
    return len(path) == LEVELS and isinstance(part, dict | list)


def _is_beyond(_: Path, part: Any) -> bool:
    return isinstance(part, int) and not SMALLEST <= part <= LARGEST


def _has_nul(path: Path, part: Any) -> bool:
    named = path[-1] if path else ""
    return any(isinstance(each, str) and "\0" in each for each in (named, part))


def _named_twice(body: bytes) -> str:
    """The words that name the member, where that costs little."""
    if len(body) > _NAMED:
        return ""

    def note(pairs: list[tuple[str, Any]]) -> None:
        names = Counter(name for name, _ in pairs)
        name, count = names.most_common(1)[0] if names else ("", 0)
        if count > 1:
            raise _Twice(name)

    try:
        json.loads(body, object_pairs_hook=note)
    except _Twice as twice:
        return f": {str(twice)[:100]!r}"
    return ""


class _Twice(Exception):
    pass
