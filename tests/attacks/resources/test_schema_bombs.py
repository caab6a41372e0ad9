"""ReDoS and other algorithmic attacks through event schemas are refused or bounded.

Owners write schemas, but no schema may block the event loop for others. `event_schema.py` matches
patterns in linear time and follows references once. The cost of event data is tested in
tests/domain/events/test_event_schema.py, the cost of bodies in tests/events/test_hostile_bodies.py.
"""

import os
from typing import Any

import pytest

from tests.support.web.attack_target import AttackTarget, attack_event

SCHEMA_PATH = "/api/v1/schemas/bomb/bomb"
# A backtracking matcher would take years.
MAX_CPU_SECONDS = 0.5


def multiplying_references(width: int, depth: int) -> dict[str, Any]:
    """Return a schema whose references expand to width ** depth."""
    defs: dict[str, Any] = {
        str(n): {"allOf": [{"$ref": f"#/$defs/{n + 1}"}] * width} for n in range(depth)
    }
    return {"$ref": "#/$defs/0", "$defs": {**defs, str(depth): {"type": "object"}}}


def nested_schema(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        schema = {"properties": {"a": schema}}
    return schema


COSTLY_SCHEMAS: dict[str, dict[str, Any]] = {
    "references that multiply": multiplying_references(2, 14),
    "references that multiply widely": multiplying_references(50, 3),
    "a reference to itself": {"$ref": "#"},
    "references in a circle": {
        "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}},
        "$ref": "#/$defs/a",
    },
    "a nested circle": {"$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"},
    "a dynamic reference": {"$dynamicAnchor": "x", "items": {"$dynamicRef": "#x"}},
    "a reference to another host": {"$ref": "http://127.0.0.1:1/schema"},
    "a reference to a file": {"$ref": "file:///etc/passwd"},
    "a base URL of another host": {"$id": "http://127.0.0.1:1/", "$ref": "x"},
    "another dialect": {"$schema": "http://127.0.0.1:1/dialect"},
    "too many levels": nested_schema(60),
    "too many bytes": {"description": "x" * 70_000},
    "too many parts": {"properties": {str(n): {"minimum": n} for n in range(3_000)}},
    "a pattern of gigabytes": {"pattern": "((a{1,100}){1,100}){1,100}"},
    "a pattern with huge counts": {"pattern": "a{100000}b{100000}"},
    "a pattern with lookaround": {"pattern": "^(?:(?=a)(a|aa))+$"},
    "a pattern with a backreference": {"pattern": "(a+)+\\1"},
    "a pattern with an atomic group": {"pattern": "^(?>a+)+$"},
}
# Patterns with texts for which a backtracking matcher takes exponential time.
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


def server_cpu_seconds(target: AttackTarget) -> float:
    """Return the CPU seconds that the server has used."""
    with open(f"/proc/{target.server.process.pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("schema", COSTLY_SCHEMAS.values(), ids=COSTLY_SCHEMAS)
def test_costly_schema_is_rejected(target, schema):
    before = server_cpu_seconds(target)
    for method, path in (("PUT", SCHEMA_PATH), ("POST", f"{SCHEMA_PATH}/dry-run")):
        response = target.call(path, method, schema, token=target.admin_token)
        assert response.status in (400, 413, 422), response.text
        assert response.headers["Content-Type"] == "application/problem+json"
    assert server_cpu_seconds(target) - before < MAX_CPU_SECONDS
    assert target.call(SCHEMA_PATH, token=target.admin_token).status == 404


def validation_cpu_seconds(target: AttackTarget, pattern: str, text: str) -> float:
    """Return the CPU seconds of validating events by a schema with this pattern."""
    schema = {"additionalProperties": {"pattern": pattern}}
    response = target.call(SCHEMA_PATH, "PUT", schema, token=target.admin_token)
    assert response.status in (200, 201), response.text
    before = server_cpu_seconds(target)
    target.send(*[attack_event(category="bomb", name="bomb", data={"a": text})] * 3)
    seconds = server_cpu_seconds(target) - before
    assert target.call(SCHEMA_PATH, "DELETE", token=target.admin_token).status == 204
    return seconds


@pytest.mark.parametrize(("pattern", "text"), PATTERNS.items(), ids=PATTERNS)
def test_pattern_is_matched_in_linear_time(target, pattern, text):
    assert validation_cpu_seconds(target, pattern, text) < MAX_CPU_SECONDS


def test_unprotected_server_accepts_costly_schema(unprotected):
    assert (
        validation_cpu_seconds(unprotected, "^(?:(?=a)(a|aa))+$", "a" * 29 + "!") > MAX_CPU_SECONDS
    )
    schema = COSTLY_SCHEMAS["references that multiply widely"]
    response = unprotected.call(SCHEMA_PATH, "PUT", schema, token=unprotected.admin_token)
    assert response.status == 201
