"""The OpenAPI document: what the resources tell, and the types that check requests."""

from collections.abc import Iterable, Iterator, Sequence
from types import UnionType
from typing import Any, get_args

import msgspec

from handlers.answers import Problem
from handlers.docs.operations import (
    HTML,
    KEYS,
    PLACES,
    PROBLEM,
    TEXT_BODY,
    Argument,
    Body,
    Operation,
    Resource,
)
from release import VERSION

OPENAPI = "3.1.0"
Schema = dict[str, Any]
# The operation of which this is another address.
SAME = "x-same-as"
# What a token, or the lack of one, comes to.
UNKNOWN = {401: "There is no token, or it is not known.", 403: "It lacks the scope."}
WITHOUT_LOGIN = ("/admin/login", "/admin/setup", "/admin/logout")
ANY = "What any request may be told: see `status` and `detail`."
AGAIN = {
    "Retry-After": {
        "description": "Seconds after which to ask again.",
        "schema": {"type": "integer", "minimum": 1},
    }
}
SECURITY = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A secret token of an app, `mq_<id>_<secret>`: made on the owner's pages, "
        "or by the command `app`. What it may do is in its scopes.",
    },
    "owner": {
        "type": "apiKey",
        "in": "cookie",
        "name": "mq_owner",
        "description": "The session of an owner who has logged in; over TLS its name is "
        "`__Host-mq_owner`.",
    },
    **{
        name: {
            "type": "apiKey",
            "in": place,
            "name": name,
            "description": "An app's public token; with another upstream, a key of its own.",
        }
        for name, place in KEYS.items()
    },
}


class Types:
    """The schemas of types, each of ours once, under its name."""

    def __init__(self, types: Iterable[Any]) -> None:
        wanted: list[Any] = [Problem]
        for each in types:
            # One of several may be two of ours, of which msgspec could not tell which it is.
            for part in get_args(each) if isinstance(each, UnionType) else (each,):
                if part is not None and not isinstance(part, dict) and part not in wanted:
                    wanted.append(part)
        schemas, self.components = msgspec.json.schema_components(
            wanted, ref_template="#/components/schemas/{name}"
        )
        self._known = list(zip(wanted, schemas, strict=True))

    def schema(self, of: Any) -> Schema:
        """The schema of a type; what is one stays as it is."""
        if isinstance(of, dict):
            return of
        if isinstance(of, UnionType):
            return {"anyOf": [self.schema(part) for part in get_args(of)]}
        return next(schema for known, schema in self._known if known == of)


def document(resources: Sequence[Resource]) -> dict[str, Any]:
    """The document of an API."""
    operations = [each for resource in resources for each in resource.operations]
    types = Types(_types(operations))
    paths: dict[str, dict[str, Any]] = {}
    for resource in resources:
        for operation in resource.operations:
            method = operation.method.lower()
            for path in (operation.path, *operation.also):
                told = _operation(operation, path, resource.name, types)
                if path != operation.path:
                    told[SAME] = _identity(method, operation.path)
                paths.setdefault(path, {})[method] = told
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "Marquee",
            "version": VERSION,
            "summary": "Campaign banners, stories, events, rising pages and daily users",
            "description": "Times are RFC 3339 in UTC. Errors are `application/problem+json` "
            "(RFC 9457): `detail` says what to do, and `errors` what is wrong where. Where limits "
            "are set, any request may be answered 429, with `Retry-After`. A compressed body "
            "(`Content-Encoding`) gets 415 with `Accept-Encoding` at every address.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": each.name, "description": each.words} for each in resources],
        "paths": paths,
        "components": {
            "schemas": types.components,
            "securitySchemes": SECURITY,
            "responses": {
                "Problem": _problem(ANY, types),
                "Page": _page("An error, as a page."),
            },
        },
    }


def places(path: str, own: Iterable[Argument] = ()) -> Iterator[Argument]:
    """The arguments that stand in an address; those that an operation has its `own` words for."""
    known = PLACES | {each.name: each for each in own if each.where == "path"}
    for part in path.split("{")[1:]:
        yield known[part.partition("}")[0]]._replace(where="path", required=True)


def _types(operations: Iterable[Operation]) -> Iterator[Any]:
    for operation in operations:
        yield from (each.type for each in _arguments(operation, operation.path))
        yield from (each.type for each in operation.bodies)
        yield from (each.also for each in operation.bodies if each.also is not None)
        yield from (each.type for each in operation.answers.values())


def _operation(operation: Operation, path: str, tag: str, types: Types) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": _identity(operation.method.lower(), path),
        "tags": [tag],
        "summary": operation.summary,
    }
    words = operation.words
    if operation.scopes:
        scopes = " or ".join(f"`{each}`" for each in operation.scopes)
        more = "is not needed; with the scope" if operation.optional else "needs the scope"
        words = f"{words}\n\nA token {more} {scopes}".strip() + (
            " it tells more." if operation.optional else "."
        )
    if operation.keys:
        names = " or ".join(f"`{each}` ({KEYS[each]})" for each in operation.keys)
        words = f"{words}\n\nIt needs a key, as {names}: an app's public token.".strip()
    if words:
        told["description"] = words
    if arguments := _arguments(operation, path):
        told["parameters"] = [_argument(each, types) for each in arguments]
    if operation.bodies:
        told["requestBody"] = {
            "required": True,
            "content": {each.kind: _body(each, types) for each in operation.bodies},
        }
    told["security"] = _security(operation)
    told["responses"] = dict(_answers(operation, types))
    return told


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    """Return the security requirements of an operation; an empty list means none."""
    if operation.scopes:
        return [{}, {"token": []}] if operation.optional else [{"token": []}]
    if operation.owner and operation.path not in WITHOUT_LOGIN:
        return [{"owner": []}]
    return [{each: []} for each in operation.keys]


def _arguments(operation: Operation, path: str) -> list[Argument]:
    others = (each for each in operation.arguments if each.where != "path")
    return [*places(path, operation.arguments), *others]


def _answers(operation: Operation, types: Types) -> Iterator[tuple[str, dict[str, Any]]]:
    for status, answer in operation.answers.items():
        told: dict[str, Any] = {"description": answer.words}
        if answer.headers:
            told["headers"] = {
                name: {"description": words, "schema": {"type": "string"}}
                for name, words in answer.headers.items()
            }
        if answer.type is not None:
            content = {"schema": types.schema(answer.type)}
            if answer.example is not None:
                content["example"] = answer.example
            told["content"] = {kind: content for kind in (answer.kind, answer.also) if kind}
        yield str(status), told
    wrong = {**(UNKNOWN if operation.scopes else {}), **operation.wrong}
    for status, words in sorted(wrong.items()):
        told = _page(words) if operation.for_people else _problem(words, types)
        if status in (429, 503):
            told["headers"] = AGAIN
        yield str(status), told
    name = "Page" if operation.for_people else "Problem"
    yield "default", {"$ref": f"#/components/responses/{name}"}


def _page(words: str) -> dict[str, Any]:
    return {"description": words, "content": {HTML: {"schema": TEXT_BODY}}}


def _problem(words: str, types: Types) -> dict[str, Any]:
    return {"description": words, "content": {PROBLEM: {"schema": types.schema(Problem)}}}


def _argument(argument: Argument, types: Types) -> dict[str, Any]:
    told = {
        "name": argument.name,
        "in": argument.where,
        "description": argument.words,
        "required": argument.required,
        "schema": types.schema(argument.type),
    }
    if argument.example is not None:
        told["example"] = argument.example
    return told


def _body(body: Body, types: Types) -> dict[str, Any]:
    schema = types.schema(body.type)
    return {
        "schema": {"anyOf": [schema, types.schema(body.also)]} if body.also else schema,
        "example": body.example,
    }


def _identity(method: str, path: str) -> str:
    words = "".join(each if each.isalnum() else " " for each in path).split()
    return "_".join([method, *words])
