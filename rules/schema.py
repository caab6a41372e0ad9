"""JSON Schema (2020-12) as a rule for the data of events: compiled once, and bounded.

Patterns are matched in linear time (no look-around, no back-references). References stay within
the schema and lead to no circle, so that what a rule can cost is known from its size. `format`
is checked, as people expect who write it.
"""

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import islice
from typing import Any

import msgspec
from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from rules.faults import Fault, pointer, unquote

DIALECT = "https://json-schema.org/draft/2020-12/schema"
# Bytes of a schema, and its parts with what each reference leads to in its place.
LONGEST, WEIGHTIEST = 65_536, 5_000
# Compiling holds the interpreter's lock, and so the event loop: 0.1 s at most within these bounds.
# A class such as \w has all of Unicode in it, which costs as much as hundreds of characters.
PATTERNS_MOST, PATTERN_CHARACTERS, PATTERN_CLASSES = 200, 10_000, 200
_REPEATED = re.compile(r"(\)?)\{([0-9]{1,6})(?:,([0-9]{0,6}))?\}")
_CLASS = re.compile(r"\\[wWdDsSbBpP]|\(\?[a-zA-Z]*i|\[:")
# So many faults are told of; all at once only where they can't be too many, else the first.
FAULTS = 20
THOROUGH = 4_000
# Even the first one costs a copy of the value: of more bytes than these, where it is is not told.
LARGE = 65_536
SOMEWHERE = "is not as its rule says, and too large to tell where"
LONGEST_MESSAGE = 200
NOT_PATTERN = "is no pattern that is matched in linear time (without look-around), or too large"
Path = tuple[str | int, ...]
PATTERNS = RegexOptions(size_limit=1 << 20, dfa_size_limit=1 << 20)

_META = Draft202012Validator({"$ref": DIALECT}, offline=True, pattern_options=PATTERNS)
_NAMED = {"properties", "patternProperties", "$defs", "dependentSchemas"}
_VALUES = {"const", "enum", "default", "examples", "required", "dependentRequired", "type"}
_NEVER = {
    "$id": "is not taken: a rule stands for itself",
    "$anchor": "is not taken: refer to a place such as #/$defs/name",
    "$dynamicAnchor": "is not taken: refer to a place such as #/$defs/name",
    "$dynamicRef": "is not taken: use $ref",
}


# Keywords of 2020-12 and of its metaschema. Any other name would have no effect.
_WORDS = """
$schema $id $ref $anchor $dynamicRef $dynamicAnchor $vocabulary $comment $defs definitions
dependencies $recursiveAnchor $recursiveRef prefixItems items contains additionalProperties
properties patternProperties dependentSchemas propertyNames if then else allOf anyOf oneOf not
unevaluatedItems unevaluatedProperties type const enum multipleOf maximum exclusiveMaximum minimum
exclusiveMinimum maxLength minLength pattern maxItems minItems uniqueItems maxContains minContains
maxProperties minProperties required dependentRequired title description default deprecated
readOnly writeOnly examples format contentEncoding contentMediaType contentSchema
"""
KEYWORDS = frozenset(_WORDS.split())


class BadSchema(ValueError):
    """A schema that cannot be a rule; `faults` say why."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(f"{each.pointer} {each.message}".strip() for each in faults))
        self.faults = faults


def schema_in(value: Any, category: str, name: str, app: int | None) -> Any:
    """Return the schema in a request body: the schema alone, or a rule as returned by GET.

    A rule is shown with its category, name and app, which must be those of the address. Raises
    `BadSchema` also for members that are no keywords: a schema of such accepts everything.
    """
    if not isinstance(value, dict):
        return value
    faults: list[Fault] = []
    if "schema" in value:
        address = {"category": category, "name": name, "app": app}
        for member, part in value.items():
            if member in address and part != address[member]:
                expected = msgspec.json.encode(address[member]).decode()
                faults.append(Fault(pointer([member]), f"must be {expected}, as in the address"))
            elif member not in address and member not in ("schema", "changed_at"):
                faults.append(Fault(pointer([member]), "is not known beside `schema`"))
        schema = value["schema"]
        place: Path = ("schema",)
    else:
        schema, place = value, ()
    if isinstance(schema, dict):
        words = islice(schema, FAULTS + len(KEYWORDS))  # of more, some are unknown
        unknown = [word for word in words if word not in KEYWORDS and not word.startswith("x-")]
        faults += (Fault(pointer((*place, word)), _no_keyword(word)) for word in unknown)
    if faults:
        raise BadSchema(faults[:FAULTS])
    return schema


def _no_keyword(word: str) -> str:
    nearest = get_close_matches(word[:40], KEYWORDS, 1)
    meant = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"is not a keyword of JSON Schema 2020-12 (custom ones begin with x-){meant}"


class Rule:
    """What the data of one type of events must be."""

    def __init__(self, schema: Any) -> None:
        """Raises `BadSchema`; `schema` is a JSON value."""
        self.text = msgspec.json.encode(schema).decode()
        self._weight = _check(schema, self.text)
        try:
            self._validator = Draft202012Validator(
                schema, offline=True, validate_formats=True, pattern_options=PATTERNS
            )
        except ValidationError as error:
            raise BadSchema([*_told(error, ())]) from None
        except ValueError as error:
            raise BadSchema([Fault("", str(error))]) from None
        # Whether data is right: the way of nearly all events.
        self.takes = self._validator.is_valid

    def faults(self, data: Any, place: str) -> list[Fault]:
        """What is wrong with `data`, which stands in the member `place` of an event."""
        if self.takes(data):
            return []
        return _faults(self._validator, data, _count(data) * self._weight, (place,))


def _check(schema: Any, text: str) -> int:
    """The weight of a schema that may be a rule."""
    if len(text.encode()) > LONGEST:
        raise BadSchema([Fault("", f"is longer than {LONGEST} bytes")])
    if not _META.is_valid(schema):
        raise BadSchema(_faults(_META, schema, len(text), ()))
    if isinstance(schema, dict) and schema.get("$schema", DIALECT).rstrip("#") != DIALECT:
        raise BadSchema([Fault("/$schema", f"is not {DIALECT}")])
    if fault := _costly_patterns(schema):
        raise BadSchema([fault])
    walk = _Walk(schema)
    weight = walk.weigh(schema, (), ())
    if walk.faults:
        raise BadSchema(walk.faults[:FAULTS])
    if weight > WEIGHTIEST:
        raise BadSchema([Fault("", f"has more than {WEIGHTIEST} parts, references followed")])
    return weight


def _costly_patterns(schema: Any) -> Fault | None:
    """Return a fault if the patterns of a schema would take too long to compile."""
    patterns: list[str] = []
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
            if isinstance(pattern := part.get("pattern"), str):
                patterns.append(pattern)
            if isinstance(named := part.get("patternProperties"), dict):
                patterns += named
    for what, count, most in (
        ("patterns", len(patterns), PATTERNS_MOST),
        (
            "characters in patterns, repetitions counted",
            sum(map(_expanded, patterns)),
            PATTERN_CHARACTERS,
        ),
        (
            "classes (such as \\w) in patterns",
            sum(len(_CLASS.findall(each)) for each in patterns),
            PATTERN_CLASSES,
        ),
    ):
        if count > most:
            return Fault("", f"has too many {what}: {count}, at most {most}")
    return None


def _expanded(pattern: str) -> int:
    """Estimate the length of a pattern with each {n} expanded."""
    count, factor = len(pattern), 1
    for group, least, most in _REPEATED.findall(pattern):
        times = max(int(least), int(most or 0))
        if group:
            factor *= max(1, times)
        else:
            count += times
    return count * factor


class _Walk:
    """A walk through a schema that follows its references."""

    def __init__(self, root: Any) -> None:
        self.faults: list[Fault] = []
        self._root = root
        self._known: dict[str, int] = {}

    def weigh(self, node: Any, path: Path, through: tuple[str, ...]) -> int:
        """How many parts a schema has, with what it refers to."""
        if not isinstance(node, dict):
            return 1
        weight = 1
        for key, part in node.items():
            here = (*path, key)
            if key in _NEVER:
                self.faults.append(Fault(pointer(here), _NEVER[key]))
            elif key == "$ref" and isinstance(part, str):
                weight += self._follow(part, here, through)
            elif key in _VALUES:
                weight += _count(part)
            elif key in _NAMED and isinstance(part, dict):
                weight += sum(
                    self.weigh(each, (*here, name), through) for name, each in part.items()
                )
            elif isinstance(part, list):
                weight += sum(self.weigh(each, (*here, n), through) for n, each in enumerate(part))
            else:
                weight += self.weigh(part, here, through)
        return weight

    def _follow(self, ref: str, path: Path, through: tuple[str, ...]) -> int:
        if ref in self._known:
            return self._known[ref]
        if ref in through or ref == "#":
            self.faults.append(Fault(pointer(path), "leads back to itself"))
            return 1
        if not ref.startswith("#/"):
            self.faults.append(Fault(pointer(path), "is no place in this schema: #/$defs/name"))
            return 1
        target = self._root
        names = tuple(unquote(name) for name in ref[2:].split("/"))
        for name in names:
            if not isinstance(target, dict) or name not in target:
                self.faults.append(Fault(pointer(path), "leads nowhere"))
                return 1
            target = target[name]
        weight = self.weigh(target, names, (*through, ref))
        self._known[ref] = weight
        return weight


def _count(value: Any) -> int:
    """The values within a value, and itself."""
    waiting, count = [value], 0
    while waiting and count <= THOROUGH:
        part = waiting.pop()
        count += 1
        if isinstance(part, dict):
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return count + len(waiting)


def _faults(validator: Draft202012Validator, value: Any, cost: int, place: Path) -> list[Fault]:
    """What is wrong with a value that is not valid; the first of it if looking on is too dear."""
    errors: Iterable[ValidationError] = []
    if cost <= THOROUGH:
        errors = validator.iter_errors(value)
    elif len(msgspec.json.encode(value)) > LARGE:
        return [Fault(pointer(place), SOMEWHERE)]
    else:
        try:
            validator.validate(value)
        except ValidationError as error:
            errors = [error]
    told = (fault for error in errors for fault in _told(error, place))
    return list(islice(dict.fromkeys(told), FAULTS))


def _told(error: ValidationError, place: Path) -> Iterator[Fault]:
    """What an error says: each member that is missing or not known, by its name."""
    path = (*place, *error.instance_path)
    kind: Any = error.kind
    message = error.message
    if kind.name == "required":
        yield Fault(pointer((*path, kind.property)), "is missing")
    elif kind.name == "additionalProperties":
        for name in kind.unexpected[:FAULTS]:
            yield Fault(pointer((*path, name)), "is not known here")
    elif message.endswith(' is not a "regex"'):
        yield Fault(pointer(path), NOT_PATTERN)
    elif len(message) > LONGEST_MESSAGE:
        yield Fault(pointer(path), message[:LONGEST_MESSAGE] + " ...")
    else:
        yield Fault(pointer(path), message)
