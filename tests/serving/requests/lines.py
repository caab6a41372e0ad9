"""Lines of JSON are sent as they are."""

import json

import schemathesis


@schemathesis.serializer("application/x-ndjson")
def lines(_, value):
    """The bytes of a body: its text, or a line of it."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "surrogatepass")
