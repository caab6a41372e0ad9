"""The OpenAPI document: what the resources tell, and the types that check requests."""

from collections.abc import Iterable, Iterator, Sequence
from types import UnionType
from typing import Any, get_args

import msgspec

from domain.common.version import VERSION
from handlers.common.responses import ProblemDetails
from handlers.openapi.operation import (
    API_KEY_LOCATIONS,
    HTML,
    PATH_PARAMETERS,
    PROBLEM_JSON,
    STRING_SCHEMA,
    ApiOperation,
    ApiParameter,
    ApiRequestBody,
    ApiResource,
)

OPENAPI_VERSION = "3.1.0"
SchemaObject = dict[str, Any]
# The operation of which this is another address.
SAME_AS_EXTENSION = "x-same-as"
# What a token, or the lack of one, comes to.
TOKEN_ERRORS = {401: "There is no token, or it is not known.", 403: "It lacks the scope."}
PUBLIC_ADMIN_PATHS = ("/admin/login", "/admin/setup", "/admin/logout")
DEFAULT_ERROR = "What any request may be told: see `status` and `detail`."
RETRY_AFTER_HEADER = {
    "Retry-After": {
        "description": "Seconds after which to ask again.",
        "schema": {"type": "integer", "minimum": 1},
    }
}
SECURITY_SCHEMES = {
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
        for name, place in API_KEY_LOCATIONS.items()
    },
}


class SchemaComponents:
    """The schemas of types, each of ours once, under its name."""

    def __init__(self, types: Iterable[Any]) -> None:
        wanted: list[Any] = [ProblemDetails]
        for each in types:
            # One of several may be two of ours, of which msgspec could not tell which it is.
            for part in get_args(each) if isinstance(each, UnionType) else (each,):
                if part is not None and not isinstance(part, dict) and part not in wanted:
                    wanted.append(part)
        schemas, self.components = msgspec.json.schema_components(
            wanted, ref_template="#/components/schemas/{name}"
        )
        self._known = list(zip(wanted, schemas, strict=True))

    def schema(self, of: Any) -> SchemaObject:
        """The schema of a type; what is one stays as it is."""
        if isinstance(of, dict):
            return of
        if isinstance(of, UnionType):
            return {"anyOf": [self.schema(part) for part in get_args(of)]}
        return next(schema for known, schema in self._known if known == of)


def build_document(resources: Sequence[ApiResource]) -> dict[str, Any]:
    """The document of an API."""
    operations = [each for resource in resources for each in resource.operations]
    types = SchemaComponents(_component_types(operations))
    paths: dict[str, dict[str, Any]] = {}
    for resource in resources:
        for operation in resource.operations:
            method = operation.method.lower()
            for path in (operation.path, *operation.also):
                told = _operation_object(operation, path, resource.name, types)
                if path != operation.path:
                    told[SAME_AS_EXTENSION] = _operation_id(method, operation.path)
                paths.setdefault(path, {})[method] = told
    return {
        "openapi": OPENAPI_VERSION,
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
            "securitySchemes": SECURITY_SCHEMES,
            "responses": {
                "Problem": _problem_response(DEFAULT_ERROR, types),
                "Page": _html_error_response("An error, as a page."),
            },
        },
    }


def path_parameters(path: str, own: Iterable[ApiParameter] = ()) -> Iterator[ApiParameter]:
    """The arguments that stand in an address; those that an operation has its `own` words for."""
    known = PATH_PARAMETERS | {each.name: each for each in own if each.where == "path"}
    for part in path.split("{")[1:]:
        yield known[part.partition("}")[0]]._replace(where="path", required=True)


def _component_types(operations: Iterable[ApiOperation]) -> Iterator[Any]:
    for operation in operations:
        yield from (each.type for each in _parameters(operation, operation.path))
        yield from (each.type for each in operation.bodies)
        yield from (each.also for each in operation.bodies if each.also is not None)
        yield from (each.type for each in operation.answers.values())


def _operation_object(
    operation: ApiOperation, path: str, tag: str, types: SchemaComponents
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": _operation_id(operation.method.lower(), path),
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
        names = " or ".join(f"`{each}` ({API_KEY_LOCATIONS[each]})" for each in operation.keys)
        words = f"{words}\n\nIt needs a key, as {names}: an app's public token.".strip()
    if words:
        told["description"] = words
    if arguments := _parameters(operation, path):
        told["parameters"] = [_parameter_object(each, types) for each in arguments]
    if operation.bodies:
        told["requestBody"] = {
            "required": True,
            "content": {each.kind: _media_type_object(each, types) for each in operation.bodies},
        }
    told["security"] = _security_requirements(operation)
    told["responses"] = dict(_responses(operation, types))
    return told


def _security_requirements(operation: ApiOperation) -> list[dict[str, list[str]]]:
    """Return the security requirements of an operation; an empty list means none."""
    if operation.scopes:
        return [{}, {"token": []}] if operation.optional else [{"token": []}]
    if operation.owner and operation.path not in PUBLIC_ADMIN_PATHS:
        return [{"owner": []}]
    return [{each: []} for each in operation.keys]


def _parameters(operation: ApiOperation, path: str) -> list[ApiParameter]:
    others = (each for each in operation.arguments if each.where != "path")
    return [*path_parameters(path, operation.arguments), *others]


def _responses(
    operation: ApiOperation, types: SchemaComponents
) -> Iterator[tuple[str, dict[str, Any]]]:
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
    wrong = {**(TOKEN_ERRORS if operation.scopes else {}), **operation.wrong}
    for status, words in sorted(wrong.items()):
        told = (
            _html_error_response(words) if operation.for_people else _problem_response(words, types)
        )
        if status in (429, 503):
            told["headers"] = RETRY_AFTER_HEADER
        yield str(status), told
    name = "Page" if operation.for_people else "Problem"
    yield "default", {"$ref": f"#/components/responses/{name}"}


def _html_error_response(words: str) -> dict[str, Any]:
    return {"description": words, "content": {HTML: {"schema": STRING_SCHEMA}}}


def _problem_response(words: str, types: SchemaComponents) -> dict[str, Any]:
    return {
        "description": words,
        "content": {PROBLEM_JSON: {"schema": types.schema(ProblemDetails)}},
    }


def _parameter_object(argument: ApiParameter, types: SchemaComponents) -> dict[str, Any]:
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


def _media_type_object(body: ApiRequestBody, types: SchemaComponents) -> dict[str, Any]:
    schema = types.schema(body.type)
    return {
        "schema": {"anyOf": [schema, types.schema(body.also)]} if body.also else schema,
        "example": body.example,
    }


def _operation_id(method: str, path: str) -> str:
    words = "".join(each if each.isalnum() else " " for each in path).split()
    return "_".join([method, *words])
