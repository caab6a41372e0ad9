"""The API's documentation: as an OpenAPI document, and as a page for people.

The page is made here from the document, instead of by a viewer's scripts: it is a tenth of their
size, reads well without scripts, on a phone and in the dark, and needs no exception to the policy
that all pages have.
"""

import gzip
import hashlib
import shlex
from typing import Any
from urllib.parse import quote

import msgspec
from cachetools import TTLCache

from domain.common.content_negotiation import accepts_coding
from handlers.common.base_handler import BaseHandler
from handlers.common.responses import HTML_CONTENT_TYPE, PageTemplates
from handlers.openapi import admin, audience, banners, events, operations, schemas, stories
from handlers.openapi.document import SAME_AS_EXTENSION, build_document
from handlers.openapi.operation import EXAMPLE_API_KEY

API_RESOURCES = (
    banners.BANNERS_RESOURCE,
    stories.STORIES_RESOURCE,
    events.EVENTS_RESOURCE,
    events.REJECTED_EVENTS_RESOURCE,
    schemas.SCHEMAS_RESOURCE,
    audience.AUDIENCE_RESOURCE,
    operations.OPERATIONS_RESOURCE,
    admin.ADMIN_RESOURCE,
)
SCHEMA_REF_PREFIX = "#/components/schemas/"


def routes(pages: PageTemplates) -> list[Any]:
    """Where these are."""
    body = msgspec.json.encode(build_document(API_RESOURCES))
    told = msgspec.json.decode(body)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return [
        (r"/api/v1/openapi\.json", OpenApiHandler, {"body": body, "tag": tag}),
        (r"/api/v1/docs", ApiDocsHandler, {"pages": pages, "told": told}),
    ]


class OpenApiHandler(BaseHandler):
    """`/api/v1/openapi.json`."""

    def initialize(self, body: bytes, tag: str) -> None:
        """`body` is the document, `tag` its hash."""
        self._body = body
        self._tag = tag

    def get(self) -> None:
        """The document; 304 to whom has it."""
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-cache")
        self.finish(self._body)

    def compute_etag(self) -> str:
        """Its hash."""
        return self._tag


class ApiDocsHandler(BaseHandler):
    """`/api/v1/docs/`."""

    def initialize(self, pages: PageTemplates, told: dict[str, Any]) -> None:
        """`told` is the document that is shown."""
        self._pages = pages
        self._told = told

    def get(self) -> None:
        """The page, with commands for this very address."""
        self.set_header(*HTML_CONTENT_TYPE)
        self.set_header("Vary", "Accept-Encoding")
        plain, packed = render_docs(
            self._pages, self._told, self.request.protocol, self.request.host
        )
        if accepts_coding(self.request.headers.get("Accept-Encoding"), "gzip"):
            self.set_header("Content-Encoding", "gzip")
            self.finish(packed)
        else:
            self.finish(plain)


_docs_cache: TTLCache[tuple[str, str], tuple[bytes, bytes]] = TTLCache(16, 3600.0)


def render_docs(
    pages: PageTemplates, told: dict[str, Any], scheme: str, host: str
) -> tuple[bytes, bytes]:
    """The page for an address, and the same with gzip; it is made once, being long."""
    found = _docs_cache.get((scheme, host))
    if found is None:
        address = f"{scheme}://{host}"
        page = pages.html(
            "docs.html",
            told=told,
            operations=operations_by_tag(told),
            schemas=told["components"]["schemas"],
            words=describe_schema,
            curl=lambda operation: curl_command(address, operation),
        )
        found = _docs_cache[scheme, host] = page, gzip.compress(page)
    return found


def operations_by_tag(told: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The operations by their tag, each with its method, its path and other paths of it."""
    found: dict[str, list[dict[str, Any]]] = {each["name"]: [] for each in told["tags"]}
    also: dict[str, list[str]] = {}
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            if SAME_AS_EXTENSION in operation:
                also.setdefault(operation[SAME_AS_EXTENSION], []).append(path)
                continue
            more = also.setdefault(operation["operationId"], [])
            shown = {**operation, "method": method.upper(), "path": path, "also": more}
            for tag in operation["tags"]:
                found[tag].append(shown)
    return found


def describe_schema(schema: dict[str, Any]) -> list[tuple[str, str]]:
    """What a schema says in short, as (text, name of the schema that it leads to or "")."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(SCHEMA_REF_PREFIX)
        return [(name, name)]
    if "anyOf" in schema:
        parts = [describe_schema(each) for each in schema["anyOf"]]
        return [pair for part in parts for pair in ((" or ", ""), *part)][1:]
    if schema.get("type") == "array":
        return [("list of ", ""), *describe_schema(schema.get("items", {}))]
    kind = schema.get("type", "anything")
    told = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if "enum" in schema:
        return [(", ".join(map(str, schema["enum"])), "")]
    told += f" ({schema['format']})" if "format" in schema else ""
    low, high = schema.get("minimum"), schema.get("maximum")
    if high is not None and high < 2**53:
        told += f", {low:,} to {high:,}"
    if "maxLength" in schema:
        told += f", {schema.get('minLength', 0)} to {schema['maxLength']} characters"
    return [(told, "")]


def requires_api_key(operation: dict[str, Any]) -> bool:
    """Whether it asks for a key."""
    return {"apikey": []} in operation.get("security", ())


def curl_command(address: str, operation: dict[str, Any]) -> str:
    """A command that asks for this."""
    path, query = operation["path"], []
    for each in operation.get("parameters", ()):
        example = str(each.get("example", ""))
        if each["in"] == "path":
            path = path.replace("{" + each["name"] + "}", quote(example, safe=""))
        elif each["in"] == "query" and each["required"]:
            query.append(f"{each['name']}={quote(example, safe='')}")
    if requires_api_key(operation):
        query.insert(0, f"apikey={EXAMPLE_API_KEY}")
    said = ["curl"]
    if operation["method"] != "GET":
        said += ["-X", operation["method"]]
    said.append(shlex.quote(address + path + ("?" + "&".join(query) if query else "")))
    if {"token": []} in operation.get("security", ()):
        said.append('-H "Authorization: Bearer $TOKEN"')
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        example = body["example"]
        sent = example if isinstance(example, str) else msgspec.json.encode(example).decode()
        said += [f"-H 'Content-Type: {kind}'", "-d", shlex.quote(sent.strip())]
        break
    return " ".join(said)
