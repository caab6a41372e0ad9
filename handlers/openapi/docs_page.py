"""The API reference: `/api/v1/openapi.json` and the HTML page `/api/v1/docs/`.

The server renders the page from the document, without a viewer's scripts. It is a tenth of their
size, works without scripts, on phones and in dark mode, and needs no exception to the Content
Security Policy.
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
from handlers.common.route import Route
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


def routes(pages: PageTemplates) -> list[Route]:
    """Return the Tornado routes of the document and the page."""
    body = msgspec.json.encode(build_document(API_RESOURCES))
    document = msgspec.json.decode(body)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return [
        Route(
            r"/api/v1/openapi\.json", OpenApiHandler, {"body": body, "tag": tag}, "openapi document"
        ),
        Route(
            r"/api/v1/docs", ApiDocsHandler, {"pages": pages, "document": document}, "api reference"
        ),
    ]


class OpenApiHandler(BaseHandler):
    """`/api/v1/openapi.json`."""

    def initialize(self, body: bytes, tag: str) -> None:
        """`tag` is the ETag of `body`, the encoded document."""
        self._body = body
        self._tag = tag

    def get(self) -> None:
        """Send the document, or 304 if the ETag matches."""
        self.set_header("Content-Type", "application/json")
        self.set_header("Cache-Control", "no-cache")
        self.finish(self._body)

    def compute_etag(self) -> str:
        """Return the precomputed ETag."""
        return self._tag


class ApiDocsHandler(BaseHandler):
    """`/api/v1/docs/`."""

    def initialize(self, pages: PageTemplates, document: dict[str, Any]) -> None:
        """`document` is the decoded OpenAPI document."""
        self._pages = pages
        self._document = document

    def get(self) -> None:
        """Send the page; its curl commands use the origin of this request."""
        self.set_header(*HTML_CONTENT_TYPE)
        self.set_header("Vary", "Accept-Encoding")
        plain, compressed = render_docs(
            self._pages, self._document, self.request.protocol, self.request.host
        )
        if accepts_coding(self.request.headers.get("Accept-Encoding"), "gzip"):
            self.set_header("Content-Encoding", "gzip")
            self.finish(compressed)
        else:
            self.finish(plain)


_docs_cache: TTLCache[tuple[str, str], tuple[bytes, bytes]] = TTLCache(16, 3600.0)


def render_docs(
    pages: PageTemplates, document: dict[str, Any], scheme: str, host: str
) -> tuple[bytes, bytes]:
    """Return the page for an origin, plain and gzip-compressed; both are cached for an hour."""
    cached = _docs_cache.get((scheme, host))
    if cached is None:
        origin = f"{scheme}://{host}"
        page = pages.render(
            "docs.html",
            document=document,
            operations=operations_by_tag(document),
            schemas=document["components"]["schemas"],
            describe_schema=describe_schema,
            curl=lambda operation: curl_command(origin, operation),
        )
        cached = _docs_cache[scheme, host] = page, gzip.compress(page)
    return cached


def operations_by_tag(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the operations by tag, each with the members `method`, `path` and `aliases`."""
    by_tag: dict[str, list[dict[str, Any]]] = {each["name"]: [] for each in document["tags"]}
    aliases: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if SAME_AS_EXTENSION in operation:
                aliases.setdefault(operation[SAME_AS_EXTENSION], []).append(path)
                continue
            others = aliases.setdefault(operation["operationId"], [])
            row = {**operation, "method": method.upper(), "path": path, "aliases": others}
            for tag in operation["tags"]:
                by_tag[tag].append(row)
    return by_tag


def describe_schema(schema: dict[str, Any]) -> list[tuple[str, str]]:
    """Return a short description of a schema as (text, name of a referenced schema or "")."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(SCHEMA_REF_PREFIX)
        return [(name, name)]
    if "anyOf" in schema:
        parts = [describe_schema(each) for each in schema["anyOf"]]
        return [pair for part in parts for pair in ((" or ", ""), *part)][1:]
    if schema.get("type") == "array":
        return [("list of ", ""), *describe_schema(schema.get("items", {}))]
    kind = schema.get("type", "anything")
    text = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if "enum" in schema:
        return [(", ".join(map(str, schema["enum"])), "")]
    text += f" ({schema['format']})" if "format" in schema else ""
    low, high = schema.get("minimum"), schema.get("maximum")
    if high is not None and high < 2**53:
        text += f", {low:,} to {high:,}"
    if "maxLength" in schema:
        text += f", {schema.get('minLength', 0)} to {schema['maxLength']} characters"
    return [(text, "")]


def requires_api_key(operation: dict[str, Any]) -> bool:
    """Return whether the operation accepts an API key in the query."""
    return {"apikey": []} in operation.get("security", ())


def curl_command(origin: str, operation: dict[str, Any]) -> str:
    """Return a curl command that calls the operation with its example values."""
    path, query = operation["path"], []
    for each in operation.get("parameters", ()):
        example = str(each.get("example", ""))
        if each["in"] == "path":
            path = path.replace("{" + each["name"] + "}", quote(example, safe=""))
        elif each["in"] == "query" and each["required"]:
            query.append(f"{each['name']}={quote(example, safe='')}")
    if requires_api_key(operation):
        query.insert(0, f"apikey={EXAMPLE_API_KEY}")
    command = ["curl"]
    if operation["method"] != "GET":
        command += ["-X", operation["method"]]
    command.append(shlex.quote(origin + path + ("?" + "&".join(query) if query else "")))
    if {"token": []} in operation.get("security", ()):
        command.append('-H "Authorization: Bearer $TOKEN"')
    for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
        example = body["example"]
        sent = example if isinstance(example, str) else msgspec.json.encode(example).decode()
        command += [f"-H 'Content-Type: {media_type}'", "-d", shlex.quote(sent.strip())]
        break
    return " ".join(command)
