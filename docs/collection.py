"""Write the collection of requests for API clients: python docs/collection.py

Postman, Bruno, Insomnia, Hoppscotch and newman read its format (Postman 2.1). It is generated from
the OpenAPI document. Set the variables `base`, `token` (a token with the scopes `read`, `write` and
`admin`) and `apikey` (an app's public token). Run the requests in order: some store an id in a
variable that later requests use.
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
# By operation: the variable set from the response, and the expression for its value.
RESPONSE_VARIABLES = {
    "post_api_v1_events": ("event", "pm.response.json().id"),
    "get_api_v1_rejected_events": (
        "rejected_event",
        "pm.response.json().rejected_events[0]?.id ?? '1'",
    ),
    "get_campaigns_campaign_banners_banner_click": (
        "click",
        "/mq_click=(\\d+)/.exec(pm.response.headers.get('Location'))?.[1] ?? '1'",
    ),
}
# Expected statuses of operations that may also fail.
EXPECTED_STATUSES = {
    # The server may have no click and no rejected event.
    "post_api_v1_conversions": [202, 422],
    "post_api_v1_rejected_events_id_replay": [200, 404, 422],
}


def build_collection() -> dict[str, Any]:
    """Return the collection, without admin pages and endless streams."""
    document = json.loads(json.dumps(build_document(API_RESOURCES), default=str))
    folders = []
    for name, operations in operations_by_tag(document).items():
        operations.sort(key=_sort_key)
        items = [_request_item(each) for each in operations if not _is_excluded(each)]
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
            *({"key": name, "value": "1"} for name, _ in RESPONSE_VARIABLES.values()),
        ],
        "item": folders,
    }


def _sort_key(operation: dict[str, Any]) -> int:
    """Order the requests: named resources are created first, deletions come last."""
    method, path = operation["method"], operation["path"]
    if method == "DELETE":
        return 1_000 - len(path)
    return 0 if method == "PUT" and "{id}" not in path else 1


def _is_excluded(operation: dict[str, Any]) -> bool:
    content = operation["responses"].get("200", {}).get("content", {})
    return operation["path"].startswith("/admin") or "text/event-stream" in content


def _request_item(operation: dict[str, Any]) -> dict[str, Any]:
    name, path = operation["operationId"], operation["path"]
    query = []
    if requires_api_key(operation):
        query.append({"key": "apikey", "value": "{{apikey}}", "disabled": False})
    for each in operation.get("parameters", ()):
        example = str(each.get("example", ""))
        if each["in"] == "path":
            variable = "{{rejected_event}}" if "rejected" in path else "{{event}}"
            value = variable if each["name"] == "id" else example.replace(" ", "%20")
            path = path.replace("{" + each["name"] + "}", value)
        elif each["in"] == "query":
            query.append({"key": each["name"], "value": example, "disabled": not each["required"]})
    arguments = [f"{each['key']}={each['value']}" for each in query if not each["disabled"]]
    request: dict[str, Any] = {
        "method": operation["method"],
        "description": operation.get("description", operation["summary"]),
        "url": {
            "raw": "{{base}}" + path + ("?" + "&".join(arguments) if arguments else ""),
            "host": ["{{base}}"],
            "path": path.removeprefix("/").split("/"),
            "query": query,
        },
    }
    if {"token": []} not in operation.get("security", ()):
        request["auth"] = {"type": "noauth"}
    for media_type, body in operation.get("requestBody", {}).get("content", {}).items():
        if media_type == FORM_URLENCODED:
            continue
        sent = body["example"]
        if isinstance(sent, dict) and "click_id" in sent:
            sent = {**sent, "click_id": "{{click}}"}
        text = sent if isinstance(sent, str) else json.dumps(sent, indent=2)
        request["header"] = [{"key": "Content-Type", "value": media_type}]
        request["body"] = {"mode": "raw", "raw": text}
        break
    expected = EXPECTED_STATUSES.get(name) or [
        int(each) for each in operation["responses"] if each < "4"
    ]
    script = [
        f"pm.test('expected status', () => pm.expect({expected}).to.include(pm.response.code));"
    ]
    if name in RESPONSE_VARIABLES:
        variable, value = RESPONSE_VARIABLES[name]
        script.append(f"pm.collectionVariables.set('{variable}', {value});")
    return {
        "name": operation["summary"],
        "request": request,
        "event": [{"listen": "test", "script": {"type": "text/javascript", "exec": script}}],
        "protocolProfileBehavior": {"followRedirects": False},
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(build_collection(), indent=1, ensure_ascii=False) + "\n")
