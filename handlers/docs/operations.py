"""How an operation of the API is told: what it takes, what it answers, and to whom."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta

JSON, TEXT, HTML = "application/json", "text/plain", "text/html"
LINES, CSV, STREAM = "application/x-ndjson", "text/csv", "text/event-stream"
FORM, PROBLEM = "application/x-www-form-urlencoded", "application/problem+json"

Number = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Moment = {"type": "string", "format": "date-time"}
Day = {"type": "string", "format": "date"}
TEXT_BODY = {"type": "string"}


class Argument(NamedTuple):
    """A part of the address, of its query, or a header; `type` is a type or a JSON Schema."""

    name: str
    words: str
    type: Any = str
    required: bool = False
    where: Literal["query", "path", "header"] = "query"
    example: Any = None


class Body(NamedTuple):
    """A body that is taken, of a type, or `also` of another."""

    type: Any
    example: Any
    kind: str = JSON
    also: Any = None


class Answer(NamedTuple):
    """An answer; `type` is that of its body, None if it has none, `also` another media type."""

    words: str
    type: Any = None
    kind: str = JSON
    headers: Mapping[str, str] = {}
    example: Any = None
    also: str = ""


class Operation(NamedTuple):
    """A method of an address.

    `also` are other addresses of it, `scopes` those of a token, any of which lets in; `optional`
    says that it also answers without one. `keys` are the places (`KEYS`) where a key may be shown,
    any of which will do. `wrong` are its statuses with a problem in the body; those of tokens, and
    what any request may be told, go without saying. What is `for_people` has pages instead, and
    what is for the `owner` needs his login.
    """

    method: str
    path: str
    summary: str
    answers: Mapping[int, Answer]
    arguments: Sequence[Argument] = ()
    bodies: Sequence[Body] = ()
    scopes: Sequence[str] = ()
    keys: Sequence[str] = ()
    wrong: Mapping[int, str] = {}
    words: str = ""
    also: Sequence[str] = ()
    optional: bool = False
    owner: bool = False
    for_people: bool = False


class Resource(NamedTuple):
    """Operations that belong together."""

    name: str
    words: str
    operations: Sequence[Operation]


# What stands in addresses.
PLACES = {
    "campaign": Argument("campaign", "A campaign's number.", Number, example=1),
    "banner": Argument("banner", "A banner's number.", Number, example=101),
    "public_token": Argument(
        "public_token",
        "An app's public token.",
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.~-]{1,100}$")],
        example="token_1",
    ),
    "id": Argument("id", "Its id.", Annotated[str, Meta(pattern="^[0-9]{1,19}$")], example="1"),
    "host": Argument(
        "host",
        "A watched host, as the app lists it.",
        Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?$")],
        example="played.example",
    ),
    "category": Argument(
        "category",
        "The category of a type of events.",
        Annotated[str, Meta(min_length=1, max_length=100)],
        example="shop",
    ),
    "name": Argument(
        "name",
        "Its name in that category.",
        Annotated[str, Meta(min_length=1, max_length=100)],
        example="order placed",
    ),
    "number": Argument("number", "Its number.", Number, example=1),
    "upload": Argument(
        "upload",
        "An upload's id.",
        Annotated[str, Meta(pattern=r"^\w{1,40}$")],
        example="0123456789abcdef",
    ),
    "file": Argument("file", "A file's name.", example="marquee.css"),
}
# Where a key is shown, and one of the sample's.
KEYS: Mapping[str, Literal["query", "header"]] = {"apikey": "query", "X-CB-AK": "header"}
KEY = "token_played"
FULL = {503: "The log is full, or its disk: send the same again, after `Retry-After` seconds."}
BUSY = {503: "This cannot be looked up now: ask again, after `Retry-After` seconds."}
