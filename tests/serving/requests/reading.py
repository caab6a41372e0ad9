"""How schemathesis reads the document, and what it sends."""

import json

import schemathesis
from schemathesis.openapi.checks import RejectedPositiveData

from rules.strict import NotJson, decode


@schemathesis.hook
def before_load_schema(_, raw_schema):
    """Of what any request may be told nothing is taken for granted: each status is to be named."""
    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            operation["responses"].pop("default", None)


@schemathesis.hook
def filter_failure(_, failure, case, response):
    """What fits its schema is to be taken, but no schema tells how strictly JSON is read here."""
    if not isinstance(failure, RejectedPositiveData) or response.status_code != 400:
        return True
    try:
        decode(response.request.body or b"")
    except NotJson:
        return False
    return True


@schemathesis.serializer("application/x-ndjson")
def lines(_, value):
    """The bytes of a body: its text, or a line of it."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")
