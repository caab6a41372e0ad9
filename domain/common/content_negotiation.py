"""Content negotiation: media types and codings that a client prefers (RFC 9110, 12.5)."""

import re

_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_MEMBER = re.compile(rf"[ \t]*({_WORD}(?:/{_WORD})?)((?:[ \t]*;[^,;]*)*)[ \t]*")
_QUALITY = re.compile(
    r"[ \t]*;[ \t]*q[ \t]*=[ \t]*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*$", re.IGNORECASE
)
_HAS_QUALITY = re.compile(r";[ \t]*q[ \t]*=", re.IGNORECASE)
HTML_MEDIA_TYPE = "text/html"
JSON_MEDIA_TYPES = ("application/json", "application/problem+json")


def parse_qualities(value: str) -> dict[str, float]:
    """Return the quality of each member of an Accept or Accept-Encoding field, in lower case.

    Omits invalid members.
    """
    qualities: dict[str, float] = {}
    for part in value.split(","):
        item = _MEMBER.fullmatch(part)
        if item is None:
            continue
        quality = 1.0
        if _HAS_QUALITY.search(item[2]):
            weight = _QUALITY.search(item[2])
            if weight is None:
                continue
            quality = float(weight[1])
        qualities.setdefault(item[1].lower(), quality)
    return qualities


def prefers_html(accept: str | None) -> bool:
    """Return whether a client prefers HTML to JSON; without a preference it gets JSON."""
    if accept is None:
        return False
    qualities = parse_qualities(accept)
    html = _match_quality(qualities, HTML_MEDIA_TYPE)
    json = max(
        (_match_quality(qualities, each) for each in JSON_MEDIA_TYPES), key=lambda pair: pair[:2]
    )
    if html[0] != json[0]:
        return html[0] > json[0]
    if html[0] == 0 or html[1] != json[1]:
        return html[0] > 0 and html[1] > json[1]
    # With equal quality and precision, the first media type wins.
    return html[1] > 0 and html[2] < json[2]


def _match_quality(qualities: dict[str, float], kind: str) -> tuple[float, int, int]:
    """Return the quality of a media type, the precision of its match (0-2), and its position."""
    order = list(qualities)
    for exact, name in ((2, kind), (1, kind.partition("/")[0] + "/*"), (0, "*/*")):
        if name in qualities:
            return qualities[name], exact, order.index(name)
    return 0.0, 0, len(order)


def accepts_coding(accept_encoding: str | None, coding: str) -> bool:
    """Return whether a client accepts this coding: only if it names the coding or `*`."""
    qualities = parse_qualities(accept_encoding or "")
    return qualities.get(coding, qualities.get("*", 0.0)) > 0
