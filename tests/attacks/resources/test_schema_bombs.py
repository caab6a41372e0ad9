"""ReDoS and other algorithmic attacks through event schemas are refused or bounded.

Owners write schemas, but no schema may block the event loop for others. `event_schema.py` matches
patterns in linear time and follows references once. The cost of event data is tested in
tests/domain/events/test_event_schema.py, the cost of bodies in tests/events/test_hostile_bodies.py.
"""

import os
from typing import Any

import pytest

from tests.support.web.attack_target import AttackTarget, attack_event

RULE = "/api/v1/schemas/bomb/bomb"
# Seconds of CPU that a server may take over any of these; one that tries every way takes years.
CHEAP = 0.5


def refs(width: int, depth: int) -> dict[str, Any]:
    """References that multiply: width to the power of depth."""
    defs: dict[str, Any] = {
        str(n): {"allOf": [{"$ref": f"#/$defs/{n + 1}"}] * width} for n in range(depth)
    }
    return {"$ref": "#/$defs/0", "$defs": {**defs, str(depth): {"type": "object"}}}


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


REFUSED: dict[str, dict[str, Any]] = {
    "references that multiply": refs(2, 14),
    "references that multiply widely": refs(50, 3),
    "a reference to itself": {"$ref": "#"},
    "references in a circle": {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        "$ref": "#/$defs/a",
    },
    "a circle within": {"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
    "a dynamic reference": {"$dynamicAnchor": "x", "items": {"$dynamicRef": "#x"}},
    "a reference to elsewhere": {"$ref": "http://127.0.0.1:1/schema"},
    "a reference to a file": {"$ref": "file:///etc/passwd"},
    "a base elsewhere": {"$id": "http://127.0.0.1:1/", "$ref": "x"},
    "another dialect": {"$schema": "http://127.0.0.1:1/dialect"},
    "levels without end": deep(60),
    "bytes without end": {"description": "x" * 70_000},
    "parts without end": {"properties": {str(n): {"minimum": n} for n in range(3_000)}},
    "a pattern of gigabytes": {"pattern": "((a{1,100}){1,100}){1,100}"},
    "a pattern that counts far": {"pattern": "a{100000}b{100000}"},
    "a pattern that looks around": {"pattern": "^(?:(?=a)(a|aa))+$"},
    "a pattern that looks back": {"pattern": "(a+)+\\1"},
    "a pattern that is atomic": {"pattern": "^(?>a+)+$"},
}
# Each with a text that a matcher which tries every way would not come to the end of.
PATTERNS = {
    "^(a+)+$": "a" * 50_000 + "!",
    "^(a|a)*$": "a" * 50_000 + "!",
    "^(a|aa)+$": "a" * 50_000 + "!",
    "(x+x+)+y": "x" * 50_000,
    "^([a-zA-Z0-9])(([\\-.]|[_]+)?([a-zA-Z0-9]+))*(@){1}[a-z0-9]+[.]{1}(com)$": "a" * 50_000 + "!",
    "^(([a-z])+.)+[A-Z]([a-z])+$": "a" * 50_000,
    "(.*)*(.*)*(.*)*b": "a" * 50_000,
    "^\\s+|\\s+$": " " * 50_000 + "x",
    "(a?){50}a{50}": "a" * 49,
}


def cpu(target: AttackTarget) -> float:
    """Seconds of CPU that the server took so far."""
    with open(f"/proc/{target.server.process.pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("schema", REFUSED.values(), ids=REFUSED)
def test_what_multiplies_circles_or_leads_away_is_refused(target, schema):
    before = cpu(target)
    for method, path in (("PUT", RULE), ("POST", f"{RULE}/dry-run")):
        response = target.call(path, method, schema, token=target.admin_token)
        assert response.status in (400, 413, 422), response.text
        assert response.headers["Content-Type"] == "application/problem+json"
    assert cpu(target) - before < CHEAP
    assert target.call(RULE, token=target.admin_token).status == 404


def judged(target: AttackTarget, pattern: str, text: str) -> float:
    """Seconds of CPU for an event that is judged by a rule with this pattern."""
    schema = {"additionalProperties": {"pattern": pattern}}
    response = target.call(RULE, "PUT", schema, token=target.admin_token)
    assert response.status in (200, 201), response.text
    before = cpu(target)
    target.send(*[attack_event(category="bomb", name="bomb", data={"a": text})] * 3)
    took = cpu(target) - before
    assert target.call(RULE, "DELETE", token=target.admin_token).status == 204
    return took


@pytest.mark.parametrize(("pattern", "text"), PATTERNS.items(), ids=PATTERNS)
def test_a_pattern_is_matched_in_linear_time(target, pattern, text):
    assert judged(target, pattern, text) < CHEAP


def test_without_the_guards_a_rule_costs_what_it_likes(weakened):
    assert judged(weakened, "^(?:(?=a)(a|aa))+$", "a" * 29 + "!") > CHEAP
    response = weakened.call(RULE, "PUT", REFUSED["references that multiply widely"],
                           token=weakened.admin_token)  # fmt: skip
    assert response.status == 201
