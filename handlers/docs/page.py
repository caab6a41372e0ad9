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

from handlers.answers import HTML, Pages
from handlers.base import Handler
from handlers.docs import audience, banners, events, owner, rules, running, stories
from handlers.docs.document import SAME, document
from handlers.docs.operations import KEY
from rules.negotiation import accepts_coding

RESOURCES = (
    banners.RESOURCE,
    stories.RESOURCE,
    events.EVENTS,
    events.REJECTED,
    rules.RESOURCE,
    audience.RESOURCE,
    running.RESOURCE,
    owner.RESOURCE,
)
REFERENCE = "#/components/schemas/"


def routes(pages: Pages) -> list[Any]:
    """Where these are."""
    body = msgspec.json.encode(document(RESOURCES))
    told = msgspec.json.decode(body)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return [
        (r"/api/v1/openapi\.json", Document, {"body": body, "tag": tag}),
        (r"/api/v1/docs", Docs, {"pages": pages, "told": told}),
    ]


class Document(Handler):
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


class Docs(Handler):
    """`/api/v1/docs/`."""

    def initialize(self, pages: Pages, told: dict[str, Any]) -> None:
        """`told` is the document that is shown."""
        self._pages = pages
        self._told = told

    def get(self) -> None:
        """The page, with commands for this very address."""
        self.set_header(*HTML)
        self.set_header("Vary", "Accept-Encoding")
        plain, packed = made(self._pages, self._told, self.request.protocol, self.request.host)
        if accepts_coding(self.request.headers.get("Accept-Encoding"), "gzip"):
            self.set_header("Content-Encoding", "gzip")
            self.finish(packed)
        else:
            self.finish(plain)


_made: TTLCache[tuple[str, str], tuple[bytes, bytes]] = TTLCache(16, 3600.0)


def made(pages: Pages, told: dict[str, Any], scheme: str, host: str) -> tuple[bytes, bytes]:
    """The page for an address, and the same with gzip; it is made once, being long."""
    found = _made.get((scheme, host))
    if found is None:
        address = f"{scheme}://{host}"
        page = pages.html(
            "docs.html",
            told=told,
            operations=grouped(told),
            schemas=told["components"]["schemas"],
            words=words,
            curl=lambda operation: curl(address, operation),
        )
        found = _made[scheme, host] = page, gzip.compress(page)
    return found


def grouped(told: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The operations by their tag, each with its method, its path and other paths of it."""
    found: dict[str, list[dict[str, Any]]] = {each["name"]: [] for each in told["tags"]}
    also: dict[str, list[str]] = {}
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            if SAME in operation:
                also.setdefault(operation[SAME], []).append(path)
                continue
            more = also.setdefault(operation["operationId"], [])
            shown = {**operation, "method": method.upper(), "path": path, "also": more}
            for tag in operation["tags"]:
                found[tag].append(shown)
    return found


def words(schema: dict[str, Any]) -> list[tuple[str, str]]:
    """What a schema says in short, as (text, name of the schema that it leads to or "")."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REFERENCE)
        return [(name, name)]
    if "anyOf" in schema:
        parts = [words(each) for each in schema["anyOf"]]
        return [pair for part in parts for pair in ((" or ", ""), *part)][1:]
    if schema.get("type") == "array":
        return [("list of ", ""), *words(schema.get("items", {}))]
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


def keyed(operation: dict[str, Any]) -> bool:
    """Whether it asks for a key."""
    return {"apikey": []} in operation.get("security", ())


def curl(address: str, operation: dict[str, Any]) -> str:
    """A command that asks for this."""
    path, query = operation["path"], []
    for each in operation.get("parameters", ()):
        example = str(each.get("example", ""))
        if each["in"] == "path":
            path = path.replace("{" + each["name"] + "}", quote(example, safe=""))
        elif each["in"] == "query" and each["required"]:
            query.append(f"{each['name']}={quote(example, safe='')}")
    if keyed(operation):
        query.insert(0, f"apikey={KEY}")
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
