"""Target URLs of banner clicks."""

from urllib.parse import quote

# Characters allowed unescaped in a URL (RFC 3986); target URLs may hold others.
URL_SAFE_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"


def location_header(url: str) -> str:
    """Return `url` percent-encoded for a `Location` header."""
    return quote(url, safe=URL_SAFE_CHARACTERS)


def add_query_argument(url: str, name: str, value: str) -> str:
    """Append `name=value` to the query of `url`, before its fragment."""
    rest, mark, fragment = url.partition("#")
    between = "?" if "?" not in rest else "" if rest.endswith(("?", "&")) else "&"
    return f"{rest}{between}{name}={value}{mark}{fragment}"
