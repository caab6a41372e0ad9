"""Write the collection of requests for API clients: python docs/collection.py

It is in Postman's format (2.1), which Postman, Bruno, Insomnia, Hoppscotch and newman read, and is
made from the same document as the page. Set its variables `base`, `token` (a token with the scopes
`read`, `write` and `admin`) and `apikey` (an app's public token), and run its requests from the
first to the last: some hand an id on to later ones.
"""

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from handlers.openapi.docs_page import API_RESOURCES, operations_by_tag, requires_api_key  # noqa: E402
from handlers.openapi.document import build_document  # noqa: E402
from handlers.openapi.operation import EXAMPLE_API_KEY, FORM_URLENCODED  # noqa: E402

PATH = ROOT / "docs" / "marquee.postman_collection.json"
SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
# What an answer hands on: a variable, and where its value stands.
HANDED_ON = {
    "post_api_v1_events": ("event", "pm.response.json().id"),
    "get_api_v1_events_rejected": ("reject", "pm.response.json().rejected[0]?.id ?? '1'"),
    "get_campaigns_campaign_banners_banner_click": (
        "click",
        "/mq_click=(\\d+)/.exec(pm.response.headers.get('Location'))?.[1] ?? '1'",
    ),
}
# What is to be answered where it is not just what went well.
ANSWERS = {
    # There need be no click, and no reject.
    "post_api_v1_conversions": [202, 422],
    "post_api_v1_events_rejected_id_replay": [200, 404, 422],
}


def collection() -> dict[str, Any]:
    """The collection; the owner's pages, and streams that never end, are left out."""
    told = json.loads(json.dumps(build_document(API_RESOURCES), default=str))
    folders = []
    for name, operations in operations_by_tag(told).items():
        operations.sort(key=_turn)
        items = [_item(each) for each in operations if not _left_out(each)]
        if items:
            folders.append({"name": name, "item": items})
    return {
        "info": {
            "name": "Marquee",
            "description": (__doc__ or "").partition("\n\n")[2],
            "schema": SCHEMA,
        },
        "auth": {
            "type": "bearer",
            "bearer": [{"key": "token", "value": "{{token}}", "type": "string"}],
        },
        "variable": [
            {"key": "base", "value": "http://127.0.0.1:8000"},
            {"key": "token", "value": ""},
            {"key": "apikey", "value": EXAMPLE_API_KEY},
            *({"key": name, "value": "1"} for name, _ in HANDED_ON.values()),
        ],
        "item": folders,
    }


def _turn(operation: dict[str, Any]) -> int:
    """What is made under a name of one's own comes first, what is deleted last."""
    method, path = operation["method"], operation["path"]
    if method == "DELETE":
        return 1_000 - len(path)
    return 0 if method == "PUT" and "{id}" not in path else 1


def _left_out(operation: dict[str, Any]) -> bool:
    answers = operation["responses"].get("200", {}).get("content", {})
    return operation["path"].startswith("/admin") or "text/event-stream" in answers


def _item(operation: dict[str, Any]) -> dict[str, Any]:
    name, path = operation["operationId"], operation["path"]
    query = []
    if requires_api_key(operation):
        query.append({"key": "apikey", "value": "{{apikey}}", "disabled": False})
    for each in operation.get("parameters", ()):
        example = str(each.get("example", ""))
        if each["in"] == "path":
            known = "{{reject}}" if "rejected" in path else "{{event}}"
            value = known if each["name"] == "id" else example.replace(" ", "%20")
            path = path.replace("{" + each["name"] + "}", value)
        elif each["in"] == "query":
            query.append({"key": each["name"], "value": example, "disabled": not each["required"]})
    said = [f"{each['key']}={each['value']}" for each in query if not each["disabled"]]
    request: dict[str, Any] = {
        "method": operation["method"],
        "description": operation.get("description", operation["summary"]),
        "url": {
            "raw": "{{base}}" + path + ("?" + "&".join(said) if said else ""),
            "host": ["{{base}}"],
            "path": path.removeprefix("/").split("/"),
            "query": query,
        },
    }
    if {"token": []} not in operation.get("security", ()):
        request["auth"] = {"type": "noauth"}
    for kind, body in operation.get("requestBody", {}).get("content", {}).items():
        if kind == FORM_URLENCODED:
            continue
        sent = body["example"]
        if isinstance(sent, dict) and "click_id" in sent:
            sent = {**sent, "click_id": "{{click}}"}
        text = sent if isinstance(sent, str) else json.dumps(sent, indent=2)
        request["header"] = [{"key": "Content-Type", "value": kind}]
        request["body"] = {"mode": "raw", "raw": text}
        break
    right = ANSWERS.get(name) or [int(each) for each in operation["responses"] if each < "4"]
    script = [f"pm.test('it is answered', () => pm.expect({right}).to.include(pm.response.code));"]
    if name in HANDED_ON:
        variable, value = HANDED_ON[name]
        script.append(f"pm.collectionVariables.set('{variable}', {value});")
    return {
        "name": operation["summary"],
        "request": request,
        "event": [{"listen": "test", "script": {"type": "text/javascript", "exec": script}}],
        "protocolProfileBehavior": {"followRedirects": False},
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(collection(), indent=1, ensure_ascii=False) + "\n")
