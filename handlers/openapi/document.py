"""Build the OpenAPI document from the resources and the types that validate requests."""

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
# Extension field: the `operationId` of the operation that this path is an alias of.
SAME_AS_EXTENSION = "x-same-as"
TOKEN_ERRORS = {401: "The token is missing or unknown.", 403: "The token lacks the scope."}
PUBLIC_ADMIN_PATHS = ("/admin/login", "/admin/setup", "/admin/logout")
DEFAULT_ERROR = "Any other error: see `status` and `detail`."
RETRY_AFTER_HEADER = {
    "Retry-After": {
        "description": "Seconds to wait before a retry.",
        "schema": {"type": "integer", "minimum": 1},
    }
}
SECURITY_SCHEMES = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A secret token of an app, `mq_<id>_<secret>`. Create one on the admin "
        "pages or with the command `app`. Its scopes limit what it may do.",
    },
    "owner": {
        "type": "apiKey",
        "in": "cookie",
        "name": "mq_owner",
        "description": "The session of a logged-in admin user. Over TLS the cookie is named "
        "`__Host-mq_owner`.",
    },
    **{
        name: {
            "type": "apiKey",
            "in": location,
            "name": name,
            "description": "The public token of an app, or a key of the configured upstream.",
        }
        for name, location in API_KEY_LOCATIONS.items()
    },
}


class SchemaComponents:
    """The `components/schemas` section: one named schema for each struct."""

    def __init__(self, types: Iterable[Any]) -> None:
        distinct: list[Any] = [ProblemDetails]
        for each in types:
            # msgspec rejects a union of two structs without tags, so collect its members.
            for part in get_args(each) if isinstance(each, UnionType) else (each,):
                if part is not None and not isinstance(part, dict) and part not in distinct:
                    distinct.append(part)
        schemas, self.components = msgspec.json.schema_components(
            distinct, ref_template="#/components/schemas/{name}"
        )
        self._schemas = list(zip(distinct, schemas, strict=True))

    def schema(self, of_type: Any) -> SchemaObject:
        """Return the schema of a type; a schema is returned unchanged."""
        if isinstance(of_type, dict):
            return of_type
        if isinstance(of_type, UnionType):
            return {"anyOf": [self.schema(part) for part in get_args(of_type)]}
        return next(schema for known, schema in self._schemas if known == of_type)


def build_document(resources: Sequence[ApiResource]) -> dict[str, Any]:
    """Return the OpenAPI document of these resources."""
    operations = [each for resource in resources for each in resource.operations]
    types = SchemaComponents(_component_types(operations))
    paths: dict[str, dict[str, Any]] = {}
    for resource in resources:
        for operation in resource.operations:
            method = operation.method.lower()
            for path in (operation.path, *operation.aliases):
                described = _operation_object(operation, path, resource.name, types)
                if path != operation.path:
                    described[SAME_AS_EXTENSION] = _operation_id(method, operation.path)
                paths.setdefault(path, {})[method] = described
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "Marquee",
            "version": VERSION,
            "summary": "Campaign banners, stories, events, rising pages and daily users",
            "description": "Times are RFC 3339 in UTC. Errors are `application/problem+json` "
            "(RFC 9457): `detail` describes the error and its remedy, `errors` lists the invalid "
            "fields. With rate limits enabled, any request may get 429 with `Retry-After`. A "
            "compressed body (`Content-Encoding`) gets 415 with `Accept-Encoding`.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": each.name, "description": each.description} for each in resources],
        "paths": paths,
        "components": {
            "schemas": types.components,
            "securitySchemes": SECURITY_SCHEMES,
            "responses": {
                "Problem": _problem_response(DEFAULT_ERROR, types),
                "Page": _html_error_response("An error page."),
            },
        },
    }


def path_parameters(path: str, overrides: Iterable[ApiParameter] = ()) -> Iterator[ApiParameter]:
    """Yield the parameters in a path template; `overrides` replace the default descriptions."""
    known = PATH_PARAMETERS | {each.name: each for each in overrides if each.location == "path"}
    for part in path.split("{")[1:]:
        yield known[part.partition("}")[0]]._replace(location="path", required=True)


def _component_types(operations: Iterable[ApiOperation]) -> Iterator[Any]:
    for operation in operations:
        yield from (each.type for each in _parameters(operation, operation.path))
        yield from (each.type for each in operation.request_bodies)
        yield from (
            each.alternative_type
            for each in operation.request_bodies
            if each.alternative_type is not None
        )
        yield from (each.type for each in operation.responses.values())


def _operation_object(
    operation: ApiOperation, path: str, tag: str, types: SchemaComponents
) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": _operation_id(operation.method.lower(), path),
        "tags": [tag],
        "summary": operation.summary,
    }
    description = operation.description
    if operation.scopes:
        scopes = " or ".join(f"`{each}`" for each in operation.scopes)
        sentence = (
            f"A token is optional; with the scope {scopes} the response has more fields."
            if operation.token_optional
            else f"Requires a token with the scope {scopes}."
        )
        description = f"{description}\n\n{sentence}".strip()
    if operation.api_keys:
        names = " or ".join(f"`{each}` ({API_KEY_LOCATIONS[each]})" for each in operation.api_keys)
        sentence = f"Requires the public token of an app as {names}."
        description = f"{description}\n\n{sentence}".strip()
    if description:
        described["description"] = description
    if parameters := _parameters(operation, path):
        described["parameters"] = [_parameter_object(each, types) for each in parameters]
    if operation.request_bodies:
        described["requestBody"] = {
            "required": True,
            "content": {
                each.media_type: _media_type_object(each, types)
                for each in operation.request_bodies
            },
        }
    described["security"] = _security_requirements(operation)
    described["responses"] = dict(_responses(operation, types))
    return described


def _security_requirements(operation: ApiOperation) -> list[dict[str, list[str]]]:
    """Return the security requirements of an operation; an empty list means none."""
    if operation.scopes:
        return [{}, {"token": []}] if operation.token_optional else [{"token": []}]
    if operation.requires_login and operation.path not in PUBLIC_ADMIN_PATHS:
        return [{"owner": []}]
    return [{each: []} for each in operation.api_keys]


def _parameters(operation: ApiOperation, path: str) -> list[ApiParameter]:
    others = (each for each in operation.parameters if each.location != "path")
    return [*path_parameters(path, operation.parameters), *others]


def _responses(
    operation: ApiOperation, types: SchemaComponents
) -> Iterator[tuple[str, dict[str, Any]]]:
    for status, response in operation.responses.items():
        described: dict[str, Any] = {"description": response.description}
        if response.headers:
            described["headers"] = {
                name: {"description": description, "schema": {"type": "string"}}
                for name, description in response.headers.items()
            }
        if response.type is not None:
            content = {"schema": types.schema(response.type)}
            if response.example is not None:
                content["example"] = response.example
            media_types = (response.media_type, response.alternative_media_type)
            described["content"] = {each: content for each in media_types if each}
        yield str(status), described
    errors = {**(TOKEN_ERRORS if operation.scopes else {}), **operation.errors}
    for status, description in sorted(errors.items()):
        described = (
            _html_error_response(description)
            if operation.html_errors
            else _problem_response(description, types)
        )
        if status in (429, 503):
            described["headers"] = RETRY_AFTER_HEADER
        yield str(status), described
    name = "Page" if operation.html_errors else "Problem"
    yield "default", {"$ref": f"#/components/responses/{name}"}


def _html_error_response(description: str) -> dict[str, Any]:
    return {"description": description, "content": {HTML: {"schema": STRING_SCHEMA}}}


def _problem_response(description: str, types: SchemaComponents) -> dict[str, Any]:
    return {
        "description": description,
        "content": {PROBLEM_JSON: {"schema": types.schema(ProblemDetails)}},
    }


def _parameter_object(parameter: ApiParameter, types: SchemaComponents) -> dict[str, Any]:
    described = {
        "name": parameter.name,
        "in": parameter.location,
        "description": parameter.description,
        "required": parameter.required,
        "schema": types.schema(parameter.type),
    }
    if parameter.example is not None:
        described["example"] = parameter.example
    return described


def _media_type_object(body: ApiRequestBody, types: SchemaComponents) -> dict[str, Any]:
    schema = types.schema(body.type)
    return {
        "schema": (
            {"anyOf": [schema, types.schema(body.alternative_type)]}
            if body.alternative_type
            else schema
        ),
        "example": body.example,
    }


def _operation_id(method: str, path: str) -> str:
    words = "".join(each if each.isalnum() else " " for each in path).split()
    return "_".join([method, *words])
