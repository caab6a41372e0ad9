"""How schemathesis reads the document, and what it sends."""

import json
import re

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData

from domain.common.strict_json import InvalidJson, decode_json

IMPLEMENTED = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
REFERENCE = re.compile('#/components/schemas/([^"]+)')


@schemathesis.hook
def before_load_schema(_, raw_schema):
    """Nothing is taken for granted: each status is to be named, and each member of an answer."""
    taken = set()
    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            operation["responses"].pop("default", None)
            taken.update(REFERENCE.findall(json.dumps(operation.get("requestBody"))))
    for name, schema in raw_schema["components"]["schemas"].items():
        if "properties" in schema and name not in taken:
            schema.setdefault("additionalProperties", False)


@schemathesis.hook
def filter_failure(_, failure, case, response):
    """What fits its schema is to be taken, but no schema tells how strictly JSON is read here.

    Nor that a zone may put a moment of the year 1 into the year 0. A method that the server does
    not implement for any address, such as TRACE, is 501 (RFC 9110, 9.1).
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
    """The bytes of a body: its text, or a line of it."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")
