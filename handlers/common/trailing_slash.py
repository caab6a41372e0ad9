"""Every route matches with and without a trailing slash."""

import re
from typing import Any

from httpserver import FastRoute

# The root is a slash, and a path below /static/ is a file name.
EXEMPT_PATTERN = re.compile(r"/$|/static/")


def optional_slash(pattern: str) -> str:
    """Return a pattern that also matches a trailing slash."""
    return pattern if EXEMPT_PATTERN.match(pattern) else f"{pattern}/?"


def fast_route_with_slash(route: FastRoute) -> None:
    """Let a fast route match with and without a trailing slash."""
    route.set_pattern(optional_slash(route.pattern))


def route_with_slash(route: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a Tornado route that matches with and without a trailing slash."""
    pattern, *rest = route
    return (optional_slash(pattern), *rest)
