"""A route of the control plane: a Tornado handler under a URL pattern, with a name for metrics."""

from typing import Any, NamedTuple

from tornado.web import RequestHandler


class Route(NamedTuple):
    """A tuple that Tornado accepts as a rule.

    `pattern` is a regular expression for the whole path, `arguments` are those of the handler's
    `initialize`. `/metrics` labels requests by `name`, so it is unique and stays the same.
    """

    pattern: str
    handler: type[RequestHandler]
    arguments: dict[str, Any]
    name: str
