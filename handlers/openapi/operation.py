"""How an operation of the API is told: what it takes, what it answers, and to whom."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from msgspec import Meta

JSON, TEXT, HTML = "application/json", "text/plain", "text/html"
NDJSON, CSV, EVENT_STREAM = "application/x-ndjson", "text/csv", "text/event-stream"
FORM_URLENCODED, PROBLEM_JSON = "application/x-www-form-urlencoded", "application/problem+json"

NonNegativeInt = Annotated[int, Meta(ge=0, le=2**63 - 1)]
DATE_TIME_SCHEMA = {"type": "string", "format": "date-time"}
DATE_SCHEMA = {"type": "string", "format": "date"}
STRING_SCHEMA = {"type": "string"}


class ApiParameter(NamedTuple):
    """A part of the address, of its query, or a header; `type` is a type or a JSON Schema."""

    name: str
    words: str
    type: Any = str
    required: bool = False
    where: Literal["query", "path", "header"] = "query"
    example: Any = None


class ApiRequestBody(NamedTuple):
    """A body that is taken, of a type, or `also` of another."""

    type: Any
    example: Any
    kind: str = JSON
    also: Any = None


class ApiResponse(NamedTuple):
    """An answer; `type` is that of its body, None if it has none, `also` another media type."""

    words: str
    type: Any = None
    kind: str = JSON
    headers: Mapping[str, str] = {}
    example: Any = None
    also: str = ""


class ApiOperation(NamedTuple):
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
    answers: Mapping[int, ApiResponse]
    arguments: Sequence[ApiParameter] = ()
    bodies: Sequence[ApiRequestBody] = ()
    scopes: Sequence[str] = ()
    keys: Sequence[str] = ()
    wrong: Mapping[int, str] = {}
    words: str = ""
    also: Sequence[str] = ()
    optional: bool = False
    owner: bool = False
    for_people: bool = False


class ApiResource(NamedTuple):
    """Operations that belong together."""

    name: str
    words: str
    operations: Sequence[ApiOperation]


# What stands in addresses.
PATH_PARAMETERS = {
    "campaign": ApiParameter("campaign", "A campaign's number.", NonNegativeInt, example=1),
    "banner": ApiParameter("banner", "A banner's number.", NonNegativeInt, example=101),
    "public_token": ApiParameter(
        "public_token",
        "An app's public token.",
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.~-]{1,100}$")],
        example="token_1",
    ),
    "id": ApiParameter("id", "Its id.", Annotated[str, Meta(pattern="^[0-9]{1,19}$")], example="1"),
    "host": ApiParameter(
        "host",
        "A watched host, as the app lists it.",
        Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?$")],
        example="played.example",
    ),
    "category": ApiParameter(
        "category",
        "The category of a type of events.",
        Annotated[str, Meta(min_length=1, max_length=100)],
        example="shop",
    ),
    "name": ApiParameter(
        "name",
        "Its name in that category.",
        Annotated[str, Meta(min_length=1, max_length=100)],
        example="order placed",
    ),
    "number": ApiParameter("number", "Its number.", NonNegativeInt, example=1),
    "upload": ApiParameter(
        "upload",
        "An upload's id.",
        Annotated[str, Meta(pattern=r"^\w{1,40}$")],
        example="0123456789abcdef",
    ),
    "file": ApiParameter("file", "A file's name.", example="marquee.css"),
}
# Where a key is shown, and one of the sample's.
API_KEY_LOCATIONS: Mapping[str, Literal["query", "header"]] = {
    "apikey": "query",
    "X-CB-AK": "header",
}
EXAMPLE_API_KEY = "token_played"
LOG_FULL_ERROR = {
    503: "The log is full, or its disk: send the same again, after `Retry-After` seconds."
}
STORE_BUSY_ERROR = {503: "This cannot be looked up now: ask again, after `Retry-After` seconds."}
