"""Hooks of schemathesis: a stricter document, known exceptions, NDJSON bodies."""

import json
import re

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData

from domain.common.strict_json import InvalidJson, decode_json

IMPLEMENTED = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
REFERENCE = re.compile('#/components/schemas/([^"]+)')


@schemathesis.hook
def before_load_schema(_, raw_schema):
    """Allow only documented statuses and response members."""
    accepted = set()
    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            operation["responses"].pop("default", None)
            accepted.update(REFERENCE.findall(json.dumps(operation.get("requestBody"))))
    for name, schema in raw_schema["components"]["schemas"].items():
        if "properties" in schema and name not in accepted:
            schema.setdefault("additionalProperties", False)


@schemathesis.hook
def filter_failure(_, failure, case, response):
    """Ignore failures that no schema can exclude: invalid JSON, and years outside 1 to 9999.

    A time zone may move a time of the year 1 into the year 0. A method that the server does not
    implement for any path, such as TRACE, is 501 (RFC 9110, 9.1).
    """
    if response.status_code == 501 and response.request.method not in IMPLEMENTED:
        return False
    if not isinstance(failure, RejectedPositiveData):
        return True
    if response.status_code == 422:
        return "is not in the years 1 to 9999" not in response.text
    if response.status_code != 400:
        return True
    try:
        decode_json(response.request.body or b"")
    except InvalidJson:
        return False
    return True


@schemathesis.serializer("application/x-ndjson")
def lines(_, value):
    """Return the bytes of a body: its text, or the value as one line."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")
