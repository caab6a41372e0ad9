"""How schemathesis reads the document, and sends lines."""

import json

import schemathesis


@schemathesis.hook
def before_load_schema(_, raw_schema):
    """Of what any request may be told nothing is taken for granted: each status is to be named."""
    for methods in raw_schema["paths"].values():
        for operation in methods.values():
            operation["responses"].pop("default", None)


@schemathesis.serializer("application/x-ndjson")
def lines(_, value):
    """The bytes of a body: its text, or a line of it."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")
