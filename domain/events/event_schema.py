"""Event schemas: JSON Schema (2020-12) for event data, compiled once, with bounded cost.

Patterns match in linear time (no look-around, no back-references). References stay within the
schema and have no cycles, so that the size of a schema bounds its cost. `format` is checked, as
authors of schemas expect.
"""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import islice
from typing import Any

import msgspec
from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from domain.common.validation_errors import FieldError, json_pointer, unescape_pointer_part

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Bytes of a schema; number of its parts, with each reference expanded.
MAX_SCHEMA_BYTES, MAX_SCHEMA_PARTS = 65_536, 5_000
# Compiling holds the GIL and so blocks the event loop: at most 0.1 s within these bounds.
# A class such as \w covers all of Unicode, which costs as much as hundreds of characters.
MAX_PATTERNS, MAX_PATTERN_CHARACTERS, MAX_PATTERN_CLASSES = 200, 10_000, 200
_REPETITION = re.compile(r"(\)?)\{([0-9]{1,6})(?:,([0-9]{0,6}))?\}")
_CHARACTER_CLASS = re.compile(r"\\[wWdDsSbBpP]|\(\?[a-zA-Z]*i|\[:")
# Errors per report. Beyond this cost (values × schema weight) only the first error is reported.
MAX_SCHEMA_ERRORS = 20
MAX_FULL_REPORT_COST = 4_000
# Reporting even one error copies the value: in a larger value the error is not located.
MAX_LOCATED_BYTES = 65_536
TOO_LARGE_TO_LOCATE = "is not as its rule says, and too large to tell where"
MAX_MESSAGE_LENGTH = 200
INVALID_PATTERN = "is no pattern that is matched in linear time (without look-around), or too large"
JsonPath = tuple[str | int, ...]
REGEX_OPTIONS = RegexOptions(size_limit=1 << 20, dfa_size_limit=1 << 20)

_METASCHEMA = Draft202012Validator(
    {"$ref": SCHEMA_DIALECT}, offline=True, pattern_options=REGEX_OPTIONS
)
_SUBSCHEMA_MAPS = {"properties", "patternProperties", "$defs", "dependentSchemas"}
_VALUE_KEYWORDS = {"const", "enum", "default", "examples", "required", "dependentRequired", "type"}
_FORBIDDEN_KEYWORDS = {
    "$id": "is not taken: a rule stands for itself",
    "$anchor": "is not taken: refer to a place such as #/$defs/name",
    "$dynamicAnchor": "is not taken: refer to a place such as #/$defs/name",
    "$dynamicRef": "is not taken: use $ref",
}


# Keywords of 2020-12 and of its metaschema. Any other name would have no effect.
_KEYWORD_NAMES = """
$schema $id $ref $anchor $dynamicRef $dynamicAnchor $vocabulary $comment $defs definitions
dependencies $recursiveAnchor $recursiveRef prefixItems items contains additionalProperties
properties patternProperties dependentSchemas propertyNames if then else allOf anyOf oneOf not
unevaluatedItems unevaluatedProperties type const enum multipleOf maximum exclusiveMaximum minimum
exclusiveMinimum maxLength minLength pattern maxItems minItems uniqueItems maxContains minContains
maxProperties minProperties required dependentRequired title description default deprecated
readOnly writeOnly examples format contentEncoding contentMediaType contentSchema
"""
KEYWORDS = frozenset(_KEYWORD_NAMES.split())


class InvalidSchema(ValueError):
    """A schema that is invalid or not supported; `faults` lists the reasons."""

    def __init__(self, faults: list[FieldError]) -> None:
        super().__init__("; ".join(f"{each.pointer} {each.message}".strip() for each in faults))
        self.faults = faults


def schema_from_request(value: Any, category: str, name: str, app: int | None) -> Any:
    """Return the JSON Schema in a request body: the body itself, or the member `schema`.

    The second form is what GET returns; its category, name and app must match the URL. Raises
    `InvalidSchema` for unknown keywords, too, as a schema made of these accepts everything.
    """
    if not isinstance(value, dict):
        return value
    faults: list[FieldError] = []
    if "schema" in value:
        in_url = {"category": category, "name": name, "app": app}
        for member, part in value.items():
            if member in in_url and part != in_url[member]:
                expected = msgspec.json.encode(in_url[member]).decode()
                faults.append(
                    FieldError(json_pointer([member]), f"must be {expected}, as in the address")
                )
            elif member not in in_url and member not in ("schema", "changed_at"):
                faults.append(FieldError(json_pointer([member]), "is not known beside `schema`"))
        schema = value["schema"]
        path: JsonPath = ("schema",)
    else:
        schema, path = value, ()
    if isinstance(schema, dict):
        words = islice(schema, MAX_SCHEMA_ERRORS + len(KEYWORDS))  # enough for a full report
        unknown = [word for word in words if word not in KEYWORDS and not word.startswith("x-")]
        faults += (
            FieldError(json_pointer((*path, word)), _unknown_keyword_message(word))
            for word in unknown
        )
    if faults:
        raise InvalidSchema(faults[:MAX_SCHEMA_ERRORS])
    return schema


def _unknown_keyword_message(word: str) -> str:
    nearest = get_close_matches(word[:40], KEYWORDS, 1)
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"is not a keyword of JSON Schema 2020-12 (custom ones begin with x-){hint}"


class CompiledEventSchema:
    """The compiled schema for the data of one event type."""

    def __init__(self, schema: Any) -> None:
        """Compile `schema`, a JSON value; raise `InvalidSchema`."""
        self.text = msgspec.json.encode(schema).decode()
        self._weight = _check_schema(schema, self.text)
        try:
            self._validator = Draft202012Validator(
                schema, offline=True, validate_formats=True, pattern_options=REGEX_OPTIONS
            )
        except ValidationError as error:
            raise InvalidSchema([*_field_errors(error, ())]) from None
        except ValueError as error:
            raise InvalidSchema([FieldError("", str(error))]) from None
        # A direct reference, as this runs for nearly every event.
        self.takes = self._validator.is_valid

    def faults(self, data: Any, member: str) -> list[FieldError]:
        """Return the validation errors of `data`, the value of a `member` of an event."""
        if self.takes(data):
            return []
        return _schema_errors(self._validator, data, _count_values(data) * self._weight, (member,))


def _check_schema(schema: Any, text: str) -> int:
    """Return the weight of a schema; raise `InvalidSchema`."""
    if len(text.encode()) > MAX_SCHEMA_BYTES:
        raise InvalidSchema([FieldError("", f"is longer than {MAX_SCHEMA_BYTES} bytes")])
    if not _METASCHEMA.is_valid(schema):
        raise InvalidSchema(_schema_errors(_METASCHEMA, schema, len(text), ()))
    if (
        isinstance(schema, dict)
        and schema.get("$schema", SCHEMA_DIALECT).rstrip("#") != SCHEMA_DIALECT
    ):
        raise InvalidSchema([FieldError("/$schema", f"is not {SCHEMA_DIALECT}")])
    if fault := _pattern_cost_error(schema):
        raise InvalidSchema([fault])
    walk = _SchemaWalk(schema)
    weight = walk.weigh(schema, (), ())
    if walk.faults:
        raise InvalidSchema(walk.faults[:MAX_SCHEMA_ERRORS])
    if weight > MAX_SCHEMA_PARTS:
        raise InvalidSchema(
            [FieldError("", f"has more than {MAX_SCHEMA_PARTS} parts, references followed")]
        )
    return weight


def _pattern_cost_error(schema: Any) -> FieldError | None:
    """Return an error if the patterns of a schema would take too long to compile."""
    patterns: list[str] = []
    pending = [schema]
    while pending:
        part = pending.pop()
        if isinstance(part, list):
            pending += part
        elif isinstance(part, dict):
            pending += part.values()
            if isinstance(pattern := part.get("pattern"), str):
                patterns.append(pattern)
            if isinstance(named := part.get("patternProperties"), dict):
                patterns += named
    for what, count, limit in (
        ("patterns", len(patterns), MAX_PATTERNS),
        (
            "characters in patterns, repetitions counted",
            sum(map(_expanded_length, patterns)),
            MAX_PATTERN_CHARACTERS,
        ),
        (
            "classes (such as \\w) in patterns",
            sum(len(_CHARACTER_CLASS.findall(each)) for each in patterns),
            MAX_PATTERN_CLASSES,
        ),
    ):
        if count > limit:
            return FieldError("", f"has too many {what}: {count}, at most {limit}")
    return None


def _expanded_length(pattern: str) -> int:
    """Estimate the length of a pattern with each `{n}` expanded."""
    count, factor = len(pattern), 1
    for group, least, most in _REPETITION.findall(pattern):
        times = max(int(least), int(most or 0))
        if group:
            factor *= max(1, times)
        else:
            count += times
    return count * factor


class _SchemaWalk:
    """A traversal of a schema that follows its references and collects errors in `faults`."""

    def __init__(self, root: Any) -> None:
        self.faults: list[FieldError] = []
        self._root = root
        self._weights: dict[str, int] = {}  # by reference

    def weigh(self, node: Any, path: JsonPath, through: tuple[str, ...]) -> int:
        """Count the parts of a schema, with references expanded; `through` are those followed."""
        if not isinstance(node, dict):
            return 1
        weight = 1
        for key, part in node.items():
            here = (*path, key)
            if key in _FORBIDDEN_KEYWORDS:
                self.faults.append(FieldError(json_pointer(here), _FORBIDDEN_KEYWORDS[key]))
            elif key == "$ref" and isinstance(part, str):
                weight += self._follow(part, here, through)
            elif key in _VALUE_KEYWORDS:
                weight += _count_values(part)
            elif key in _SUBSCHEMA_MAPS and isinstance(part, dict):
                weight += sum(
                    self.weigh(each, (*here, name), through) for name, each in part.items()
                )
            elif isinstance(part, list):
                weight += sum(self.weigh(each, (*here, n), through) for n, each in enumerate(part))
            else:
                weight += self.weigh(part, here, through)
        return weight

    def _follow(self, ref: str, path: JsonPath, through: tuple[str, ...]) -> int:
        if ref in self._weights:
            return self._weights[ref]
        if ref in through or ref == "#":
            self.faults.append(FieldError(json_pointer(path), "leads back to itself"))
            return 1
        if not ref.startswith("#/"):
            self.faults.append(
                FieldError(json_pointer(path), "is no place in this schema: #/$defs/name")
            )
            return 1
        target = self._root
        names = tuple(unescape_pointer_part(name) for name in ref[2:].split("/"))
        for name in names:
            if not isinstance(target, dict) or name not in target:
                self.faults.append(FieldError(json_pointer(path), "leads nowhere"))
                return 1
            target = target[name]
        weight = self.weigh(target, names, (*through, ref))
        self._weights[ref] = weight
        return weight


def _count_values(value: Any) -> int:
    """Count a value and the values in it; may stop above `MAX_FULL_REPORT_COST`."""
    pending, count = [value], 0
    while pending and count <= MAX_FULL_REPORT_COST:
        part = pending.pop()
        count += 1
        if isinstance(part, dict):
            pending += part.values()
        elif isinstance(part, list):
            pending += part
    return count + len(pending)


def _schema_errors(
    validator: Draft202012Validator, value: Any, cost: int, path: JsonPath
) -> list[FieldError]:
    """Return the errors of an invalid value; only the first if finding all costs too much."""
    errors: Iterable[ValidationError] = []
    if cost <= MAX_FULL_REPORT_COST:
        errors = validator.iter_errors(value)
    elif len(msgspec.json.encode(value)) > MAX_LOCATED_BYTES:
        return [FieldError(json_pointer(path), TOO_LARGE_TO_LOCATE)]
    else:
        try:
            validator.validate(value)
        except ValidationError as error:
            errors = [error]
    field_errors = (each for error in errors for each in _field_errors(error, path))
    return list(islice(dict.fromkeys(field_errors), MAX_SCHEMA_ERRORS))


def _field_errors(error: ValidationError, root: JsonPath) -> Iterator[FieldError]:
    """Yield the field errors of a validation error: one per missing or unknown member."""
    path = (*root, *error.instance_path)
    kind: Any = error.kind
    message = error.message
    if kind.name == "required":
        yield FieldError(json_pointer((*path, kind.property)), "is missing")
    elif kind.name == "additionalProperties":
        for name in kind.unexpected[:MAX_SCHEMA_ERRORS]:
            yield FieldError(json_pointer((*path, name)), "is not known here")
    elif message.endswith(' is not a "regex"'):
        yield FieldError(json_pointer(path), INVALID_PATTERN)
    elif len(message) > MAX_MESSAGE_LENGTH:
        yield FieldError(json_pointer(path), message[:MAX_MESSAGE_LENGTH] + " ...")
    else:
        yield FieldError(json_pointer(path), message)
