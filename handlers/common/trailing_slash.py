"""One rule for all addresses: a slash at the end makes no difference."""

import re
from typing import Any

from httpserver import FastRoute

# The root is only a slash, and below /static/ the address is a file name.
EXEMPT_PATTERN = re.compile(r"/$|/static/")


def optional_slash(pattern: str) -> str:
    """Return a pattern that also matches a slash at the end."""
    return pattern if EXEMPT_PATTERN.match(pattern) else f"{pattern}/?"


def fast_route_with_slash(lane: FastRoute) -> None:
    """Let a fast route match addresses with and without a slash at the end."""
    lane.match_all(optional_slash(lane.pattern))


def route_with_slash(route: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a Tornado route that matches with and without a slash at the end."""
    pattern, *more = route
    return (optional_slash(pattern), *more)
