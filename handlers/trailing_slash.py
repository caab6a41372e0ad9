"""One rule for all addresses: a slash at the end makes no difference."""

import re
from typing import Any

from wire import Lane

# The root is a slash, and the rest of a file's address is the file's name.
EXEMPT = re.compile(r"/$|/static/")


def optional_slash(pattern: str) -> str:
    """Return the pattern of an address, for the address with and without a slash at its end."""
    return pattern if EXEMPT.match(pattern) else f"{pattern}/?"


def lane_with_slash(lane: Lane) -> None:
    """Have a lane answer with and without a slash."""
    lane.match_all(optional_slash(lane.pattern))


def route_with_slash(route: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return a route of the application that answers with and without a slash."""
    pattern, *more = route
    return (optional_slash(pattern), *more)
