"""Addresses that a click leads to."""

from urllib.parse import quote

# What an address may hold as it is (RFC 3986); a target may be written with other letters.
URL_SAFE_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"


def location_header(url: str) -> str:
    """`url` as a Location field has it."""
    return quote(url, safe=URL_SAFE_CHARACTERS)


def add_query_argument(url: str, name: str, value: str) -> str:
    """`url` with one more argument in its query, ahead of its fragment."""
    rest, mark, fragment = url.partition("#")
    between = "?" if "?" not in rest else "" if rest.endswith(("?", "&")) else "&"
    return f"{rest}{between}{name}={value}{mark}{fragment}"
