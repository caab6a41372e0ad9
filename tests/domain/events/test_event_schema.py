"""JSON Schemas as rules: what they say of data, and which of them cannot be rules."""

from time import process_time
from typing import Any

import pytest

from domain.common.validation_errors import FieldError
from domain.events.event_schema import (
    MAX_SCHEMA_BYTES,
    MAX_SCHEMA_ERRORS,
    SCHEMA_DIALECT,
    TOO_LARGE_TO_LOCATE,
    CompiledEventSchema,
    InvalidSchema,
    schema_from_request,
)
from tests.support.cpu_time import scaled_20_ms


def told(schema: Any, data: Any) -> list[tuple[str, str]]:
    return [
        (each.pointer, each.message) for each in CompiledEventSchema(schema).faults(data, "data")
    ]


def refused(schema: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidSchema) as bad:
        CompiledEventSchema(schema)
    assert str(bad.value)
    return [(each.pointer, each.message) for each in bad.value.faults]


@pytest.mark.parametrize(
    ("schema", "data", "faults"),
    [
        (True, {}, []),
        ({"$schema": SCHEMA_DIALECT}, {}, []),
        (False, {}, [("/data", "False schema does not allow {}")]),
        ({"required": ["a", "b/c"]}, {}, [("/data/a", "is missing"), ("/data/b~1c", "is missing")]),
        (
            {"properties": {"a": True}, "additionalProperties": False},
            {"a": 1, "m~n": 2, "o": 3},
            [("/data/m~0n", "is not known here"), ("/data/o", "is not known here")],
        ),
        (
            {"properties": {"a": {"items": {"type": "string"}}}},
            {"a": ["x", 1]},
            [("/data/a/1", '1 is not of type "string"')],
        ),
        (
            {"properties": {"e": {"format": "email"}}},
            {"e": "x"},
            [("/data/e", '"x" is not a "email"')],
        ),
        (
            {"properties": {"a": {"$ref": "#/$defs/x~1y"}}, "$defs": {"x/y": {"maximum": 1}}},
            {"a": 2},
            [("/data/a", "2 is greater than the maximum of 1")],
        ),
        ({"properties": {"$id": {"type": "string"}, "$ref": {}}}, {"$id": "x", "$ref": "y"}, []),
        ({"const": {"$ref": "x", "$id": "y"}}, {"$ref": "x", "$id": "y"}, []),
        ({"properties": {"a": {"pattern": "^\\p{L}+$"}}}, {"a": "é"}, []),
    ],
)  # fmt: skip
def test_a_rule_says_what_is_wrong_with_data_and_where(
    schema: Any, data: Any, faults: list[tuple[str, str]]
) -> None:
    assert told(schema, data) == faults
    assert CompiledEventSchema(schema).takes(data) is (not faults)


@pytest.mark.parametrize(
    ("schema", "place", "words"),
    [
        ([], "", "[] is not of types"),
        (5, "", "5 is not of types"),
        ({"type": "strng"}, "/type", '"strng" is not valid'),
        (
            {"properties": {"a": {"minLength": "1"}}},
            "/properties/a/minLength",
            '"1" is not of type',
        ),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "/$schema", "is not https://"),
        ({"$ref": "http://127.0.0.1:1/x"}, "/$ref", "is no place in this schema"),
        ({"$ref": "file:///etc/passwd"}, "/$ref", "is no place in this schema"),
        ({"$ref": SCHEMA_DIALECT}, "/$ref", "is no place in this schema"),
        ({"items": {"$ref": "#/$defs/none"}}, "/items/$ref", "leads nowhere"),
        ({"properties": {"a": {"$ref": "#"}}}, "/properties/a/$ref", "leads back to itself"),
        (
            {"$ref": "#/$defs/a", "$defs": {"a": {"not": {"$ref": "#/$defs/a"}}}},
            "/$defs/a/not/$ref",
            "leads back to itself",
        ),
        ({"$dynamicRef": "#x"}, "/$dynamicRef", "is not taken"),
        ({"properties": {"a": {"$id": "http://x.example/"}}}, "/properties/a/$id", "is not taken"),
        ({"pattern": "("}, "/pattern", "is no pattern"),
        ({"pattern": "(?=a)b"}, "/pattern", "is no pattern"),
        ({"pattern": "(a)\\1"}, "/pattern", "is no pattern"),
        ({"pattern": "((a{100}){100}){100}"}, "", "has too many characters in patterns"),
        ({"pattern": r"\p{L}{1,5000}"}, "/pattern", "is no pattern"),
        ({"patternProperties": {"(": True}}, "/patternProperties/(", "is no pattern"),
        ({"description": "x" * MAX_SCHEMA_BYTES}, "", "is longer than"),
    ],
    ids=lambda each: str(each)[:30],
)
def test_what_cannot_be_a_rule_is_refused_with_the_place(
    schema: Any, place: str, words: str
) -> None:
    (pointer, message), *_ = refused(schema)
    assert (pointer, message[: len(words)]) == (place, words)


def test_references_that_multiply_are_refused() -> None:
    two = [{"$ref": "#/$defs/%d"}, {"$ref": "#/$defs/%d"}]
    defs: dict[str, Any] = {
        str(n): {"anyOf": [{"$ref": each["$ref"] % (n + 1)} for each in two]} for n in range(30)
    }
    schema = {"$ref": "#/$defs/0", "$defs": {**defs, "30": {}}}
    assert refused(schema) == [("", "has more than 5000 parts, references followed")]


@pytest.mark.parametrize(
    ("schema", "data"),
    [
        ({"items": {"anyOf": [{"type": "string"}, {"type": "object"}]}}, [1] * 100_000),
        ({"items": {"anyOf": [{"type": "string"}, {"type": "object"}]}}, [1] * 500),
        ({"required": [str(n) for n in range(4_000)]}, {}),
        ({"type": "string"}, {"a": ["x" * 10] * 15_000}),
        ({"additionalProperties": False}, {str(n): n for n in range(25_000)}),
        ({"additionalProperties": {"pattern": "^(a+)+$"}}, {"x": "a" * 250_000 + "b"}),
        ({"items": {"enum": ["x" * 100] * 500}}, [1] * 100_000),
        ({"uniqueItems": True}, [[n] for n in range(9_000)] + [[0]]),
        ({"properties": {"a": {"type": "string"}}}, {"a": [1e5] * 60_000}),
    ],
    ids=lambda each: str(each)[:40],
)
def test_data_of_256_kib_is_judged_within_20_ms_and_in_few_words(schema: Any, data: Any) -> None:
    rule = CompiledEventSchema(schema)

    def seconds() -> float:
        began = process_time()
        faults = rule.faults(data, "data")
        took = process_time() - began
        assert 1 <= len(faults) <= MAX_SCHEMA_ERRORS
        assert all(len(each.message) < 300 for each in faults)
        return took

    assert min(seconds() for _ in range(5)) < scaled_20_ms()


def test_what_is_wrong_with_large_data_is_told_unless_it_is_too_much_to_look_through() -> None:
    rule = CompiledEventSchema({"properties": {"a": {"type": "string"}}})
    for data in ({"a": 5, "b": "x" * 200_000}, {"b": list(range(9_000)), "a": 5}):
        assert rule.faults(data, "data") == [FieldError("/data/a", '5 is not of type "string"')]
    (fault,) = rule.faults({"b": list(range(90_000)), "a": 5}, "data")
    assert fault == FieldError("/data", TOO_LARGE_TO_LOCATE)


def many(pattern: str, count: int) -> dict[str, Any]:
    return {"patternProperties": {f"{pattern}{number}": True for number in range(count)}}


@pytest.mark.parametrize(
    ("schema", "what"),
    [
        (many("^a", 1_500), "patterns: 1500, at most 200"),
        ({"properties": {str(n): {"pattern": "a"} for n in range(201)}}, "patterns: 201"),
        ({"anyOf": [{"pattern": "a"}] * 201}, "patterns: 201"),
        ({"$defs": {"x": many("a", 201)}}, "patterns: 201"),
        ({"pattern": "a" * 10_001}, "characters in patterns, repetitions counted: 10001"),
        ({"pattern": "(a{100}){100}"}, "characters in patterns"),
        (many("(((a{8}){8}){8}){8}", 100), "characters in patterns"),
        (many("(a{1,1000}){0,15}", 2), "characters in patterns"),
        ({"pattern": "|".join(rf"\w{n}" for n in range(201))}, "classes (such as \\w) in patterns"),
        (many(r"\p{L}?\p{N}?\p{Han}?", 100), "classes (such as \\w) in patterns"),
    ],
)  # fmt: skip
def test_patterns_that_would_take_long_to_compile_are_refused(schema: Any, what: str) -> None:
    """Compiling holds the event loop, also from another thread."""
    ((pointer, message),) = refused(schema)
    assert pointer == ""
    assert message.startswith(f"has too many {what}")


@pytest.mark.parametrize(
    "schema",
    [
        many(r"^\d+$", 150),
        many("^x-", 200),
        {"pattern": r"^[\w.-]{1,100}@([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$"},
        {"pattern": r"^(\d{1,3}\.){3}\d{1,3}$"},
        {"pattern": "^.{1,500}$"},
        {"const": {"pattern": "a" * 5_000}},
    ],
)
def test_patterns_as_people_write_them_are_accepted(schema: Any) -> None:
    CompiledEventSchema(schema)


@pytest.mark.parametrize(("app", "other", "shown"), [(None, 5, "null"), (5, None, "5")])
def test_a_rule_of_another_app_is_refused_in_terms_of_json(app, other, shown):
    with pytest.raises(InvalidSchema) as raised:
        schema_from_request({"schema": {}, "app": other}, "c", "n", app)
    assert raised.value.faults == [FieldError("/app", f"must be {shown}, as in the address")]
