"""What a right event is, and all that is told of a wrong one."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.common.timestamp import parse_timestamp
from domain.events import event
from domain.events.event import APP_SOURCE, EventRow, InvalidEvent, parse_event
from domain.events.event_schema import CompiledEventSchema
from domain.events.schema_registry import ALL_APPS, AppSchemas, SchemaRegistry

NOW = parse_timestamp("2021-01-01T12:00:00Z")
CLICK = {
    "type": "object",
    "required": ["host", "path", "element"],
    "properties": {"host": {"type": "string"}, "path": {"type": "string"}},
}
OWN = {"required": ["own"]}
BOOK = SchemaRegistry(
    {
        (2, "page interaction", "cta click"): CompiledEventSchema(OWN),
        (ALL_APPS, "page interaction", "cta click"): CompiledEventSchema(CLICK),
    }
)
ONE, WITH_OWN, STRICT = BOOK.of(1, False), BOOK.of(2, False), BOOK.of(3, True)
GOOD: dict[str, Any] = {
    "session_id": "e2085be5-9137-4e4e-80b5-f1ffddc25423",
    "category": "page interaction",
    "name": "cta click",
    "data": {"host": "www.consumeraffairs.com", "path": "/", "element": "chat bubble"},
    "timestamp": "2021-01-01 09:15:27.243860",
}


def body(**members: Any) -> bytes:
    """The good event with other members; those that are `...` are left out."""
    return json.dumps({k: v for k, v in {**GOOD, **members}.items() if v is not ...}).encode()


def faults(sent: bytes, rules: AppSchemas = ONE) -> list[tuple[str, str]]:
    with pytest.raises(InvalidEvent) as wrong:
        parse_event(sent, NOW, rules)
    return [(each.pointer, each.message) for each in wrong.value.faults]


def test_a_right_event_becomes_a_row_of_the_log() -> None:
    assert parse_event(body(), NOW, ONE) == (
        APP_SOURCE,
        1,
        "e2085be5-9137-4e4e-80b5-f1ffddc25423",
        None,
        "page interaction",
        "cta click",
        parse_timestamp("2021-01-01 09:15:27.243860"),
        None,
        None,
        '{"host":"www.consumeraffairs.com","path":"/","element":"chat bubble"}',
    )


def test_the_first_id_of_a_sender_stands_in_the_row_with_a_digest() -> None:
    *_, sender, digest, _ = parse_event(body(sender_id="a"), NOW, ONE)
    assert sender == "a"
    assert isinstance(digest, bytes) and len(digest) == 32
    assert parse_event(body(sender_id=None), NOW, ONE)[7:9] == (None, None)


def test_the_digest_is_that_of_what_is_said_not_of_how() -> None:
    def digest(sent: bytes) -> bytes | None:
        return parse_event(sent, NOW, ONE)[8]

    first = digest(body(sender_id="a"))
    other = {**GOOD, "sender_id": "a", "timestamp": "2021-01-01T10:15:27.24386+01:00"}
    other["data"] = dict(reversed(GOOD["data"].items()))
    turned = dict(reversed(other.items()))
    assert digest(json.dumps(turned, indent=3).encode()) == first
    assert digest(body(sender_id="a").replace(b"chat", b"\\u0063hat")) == first
    for name, part in {
        "session_id": "x",
        "category": "x",
        "name": "x",
        "data": {**GOOD["data"], "n": 1},
        "timestamp": "2021-01-01 09:15:27.243861",
    }.items():
        assert digest(body(sender_id="a", **{name: part})) != first


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"session_id": ...}, [("/session_id", "is missing")]),
        ({"session_id": 5}, [("/session_id", "is not a string")]),
        ({"session_id": None}, [("/session_id", "is not a string")]),
        ({"session_id": ""}, [("/session_id", "has 0 characters instead of 1 to 200")]),
        ({"session_id": "é" * 201}, [("/session_id", "has 201 characters instead of 1 to 200")]),
        ({"category": "c" * 101}, [("/category", "has 101 characters instead of 1 to 100")]),
        ({"name": ""}, [("/name", "has 0 characters instead of 1 to 100")]),
        ({"sender_id": ""}, [("/sender_id", "has 0 characters instead of 1 to 200")]),
        ({"sender_id": 7}, [("/sender_id", "is not a string")]),
        ({"data": []}, [("/data", "is not an object")]),
        ({"data": None}, [("/data", "is not an object")]),
        ({"data": ...}, [("/data", "is missing")]),
        ({"data": {"path": 1}, "user": 1}, [
            ("/user", "is not known here"),
            ("/data/host", "is missing"),
            ("/data/element", "is missing"),
            ("/data/path", '1 is not of type "string"'),
        ]),
        ({"a/b": 1, "m~n": 2}, [("/a~1b", "is not known here"), ("/m~0n", "is not known here")]),
        ({"timestamp": 1609492527}, [("/timestamp", "is not a string")]),
        ({"timestamp": "2021-01-01 12:01:00"}, []),
        ({"timestamp": "2021-01-01 12:01:00.000001"}, [
            ("/timestamp", "is more than a minute in the future"),
        ]),
        ({"timestamp": "2021-01-01 13:01:00+01:00"}, []),
        ({"timestamp": "2021-02-29"}, [
            ("/timestamp", "is not a date and time such as 2021-01-01T09:15:27.243860Z"),
        ]),
        ({"session_id": ..., "category": 1, "name": ..., "timestamp": "", "x": 1}, [
            ("/session_id", "is missing"),
            ("/name", "is missing"),
            ("/category", "is not a string"),
            ("/timestamp", "is not a date and time such as 2021-01-01T09:15:27.243860Z"),
            ("/x", "is not known here"),
        ]),
    ],
)  # fmt: skip
def test_all_that_is_wrong_is_told_at_once_with_its_place(
    members: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    if expected:
        assert faults(body(**members)) == expected
    else:
        parse_event(body(**members), NOW, ONE)


@pytest.mark.parametrize("sent", [b"[]", b'"x"', b"1", b"null", b"true"])
def test_what_is_no_object_is_no_event(sent: bytes) -> None:
    assert faults(sent) == [("", "is not an object")]


@pytest.mark.parametrize("sent", [b"", b"{", b"NaN", b'{"a":1,"a":2}', b'{"data":"\\u0000"}'])
def test_what_is_no_json_is_told_apart_from_what_is_wrong(sent: bytes) -> None:
    with pytest.raises(InvalidEvent) as wrong:
        parse_event(sent, NOW, ONE)
    assert wrong.value.malformed
    with pytest.raises(InvalidEvent) as wrong:
        parse_event(b"{}", NOW, ONE)
    assert not wrong.value.malformed


def test_no_more_than_twenty_faults_are_told() -> None:
    assert len(faults(body(**{f"x{n}": n for n in range(1000)}))) == 20


def test_an_apps_own_rule_goes_before_the_one_for_all() -> None:
    assert faults(body(), WITH_OWN) == [("/data/own", "is missing")]
    parse_event(body(data={"own": 1}), NOW, WITH_OWN)


def test_a_strict_app_sends_no_type_without_a_rule_and_others_may() -> None:
    parse_event(body(name="other", data={}), NOW, ONE)
    parse_event(body(), NOW, STRICT)
    assert faults(body(name="other", data={}), STRICT) == [
        ("/name", "has no rule in this category, and this app takes no others")
    ]


texts = st.text(max_size=5) | st.sampled_from(["", "a" * 101, "a" * 201, "9" * 25, "[" * 40, ":"])
parts = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**64), 2**64), st.floats(), texts),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(texts, each, max_size=3),
    max_leaves=8,
)
TIMES = """
2021-01-01 09:15:27
2021-01-01T09:15:27+01
2021-01-01 23:59:60Z
2022-01-01 00:00:00
2021-01-01T12:01:00.0000004Z
0001-01-01 00:00:00+14:00
2020-12-31 23:59:60.5Z
x"""
times = st.sampled_from(TIMES.split("\n"))
members = st.fixed_dictionaries(
    {},
    optional={
        "session_id": texts | parts,
        "category": texts,
        "name": texts,
        "sender_id": texts | st.none(),
        "data": st.dictionaries(texts, parts, max_size=3) | parts,
        "timestamp": times | parts,
        "other": parts,
    },
)


def outcome(how: Any, sent: bytes) -> EventRow | tuple[bool, bytes]:
    try:
        return how(sent, NOW, ONE)  # type: ignore[no-any-return]
    except InvalidEvent as wrong:
        assert wrong.faults
        return wrong.malformed, msgspec.json.encode(wrong.faults)


@settings(max_examples=500)
@given(members, st.integers(0, 40), st.booleans(), st.data())
def test_the_fast_way_and_the_close_one_say_the_same_of_every_event(
    changed: dict[str, Any], levels: int, escaped: bool, data: Any
) -> None:
    good = {**GOOD, "name": "other", **changed}
    for _ in range(levels):
        good["data"] = {"a": good["data"]}
    sent = json.dumps(good, ensure_ascii=escaped).encode(errors="surrogatepass")
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(sent)))
        piece = data.draw(st.sampled_from([b"", b'"', b"\xff", b',"name":"x"', b"9" * 19, b"\\"]))
        sent = sent[:at] + piece + sent[at + data.draw(st.integers(0, 2)) :]
    assert outcome(parse_event, sent) == outcome(event._parse_event_slowly, sent)


@given(st.dictionaries(texts, parts, max_size=4))
def test_data_is_stored_as_it_was_sent(data: dict[str, Any]) -> None:
    sent = body(name="other", data=data)
    try:
        row = parse_event(sent, NOW, ONE)
    except InvalidEvent:
        return
    assert row[9] is not None
    assert json.loads(row[9]) == json.loads(sent)["data"]
