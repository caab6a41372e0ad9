"""Types that describe an operation of the API: parameters, bodies, responses, access."""

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
    """A path, query or header parameter; `type` is a Python type or a JSON Schema."""

    name: str
    description: str
    type: Any = str
    required: bool = False
    location: Literal["query", "path", "header"] = "query"
    example: Any = None


class ApiRequestBody(NamedTuple):
    """A request body: a Python type or a JSON Schema, and optionally an alternative type."""

    type: Any
    example: Any
    media_type: str = JSON
    alternative_type: Any = None


class ApiResponse(NamedTuple):
    """A response; `type` is that of the body, None for a response without a body."""

    description: str
    type: Any = None
    media_type: str = JSON
    headers: Mapping[str, str] = {}
    example: Any = None
    alternative_media_type: str = ""


class ApiOperation(NamedTuple):
    """A method at a path, and at the `aliases` of that path.

    A secret token needs one of the `scopes`; with `token_optional` the operation also works without
    a token. `api_keys` are the accepted places of a key (see `API_KEY_LOCATIONS`). `errors` maps
    statuses with problem details to descriptions. The document adds the errors of tokens and the
    default error. With `html_errors` the operation responds with error pages instead of problem
    details. With `requires_login` it needs the session of an admin user.
    """

    method: str
    path: str
    summary: str
    responses: Mapping[int, ApiResponse]
    parameters: Sequence[ApiParameter] = ()
    request_bodies: Sequence[ApiRequestBody] = ()
    scopes: Sequence[str] = ()
    api_keys: Sequence[str] = ()
    errors: Mapping[int, str] = {}
    description: str = ""
    aliases: Sequence[str] = ()
    token_optional: bool = False
    requires_login: bool = False
    html_errors: bool = False


class ApiResource(NamedTuple):
    """The operations under one tag."""

    name: str
    description: str
    operations: Sequence[ApiOperation]


PATH_PARAMETERS = {
    "campaign": ApiParameter("campaign", "Campaign number.", NonNegativeInt, example=1),
    "banner": ApiParameter("banner", "Banner number.", NonNegativeInt, example=101),
    "public_token": ApiParameter(
        "public_token",
        "Public token of an app.",
        Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.~-]{1,100}$")],
        example="token_1",
    ),
    "id": ApiParameter(
        "id", "Event id.", Annotated[str, Meta(pattern="^[0-9]{1,19}$")], example="1"
    ),
    "host": ApiParameter(
        "host",
        "A polled host, as the app lists it.",
        Annotated[str, Meta(pattern=r"^[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?$")],
        example="played.example",
    ),
    "category": ApiParameter(
        "category",
        "Category of the event type.",
        Annotated[str, Meta(min_length=1, max_length=100)],
        example="shop",
    ),
    "name": ApiParameter(
        "name",
        "Name of the event type in its category.",
        Annotated[str, Meta(min_length=1, max_length=100)],
        example="order placed",
    ),
    "number": ApiParameter("number", "Number of the item.", NonNegativeInt, example=1),
    "upload": ApiParameter(
        "upload",
        "Upload id.",
        Annotated[str, Meta(pattern=r"^\w{1,40}$")],
        example="0123456789abcdef",
    ),
    "file": ApiParameter("file", "File name.", example="marquee.css"),
}
# Accepted places of an API key, and their OpenAPI location.
API_KEY_LOCATIONS: Mapping[str, Literal["query", "header"]] = {
    "apikey": "query",
    "X-CB-AK": "header",
}
# Public token of the demo app.
EXAMPLE_API_KEY = "token_played"
LOG_FULL_ERROR = {
    503: "The event log is full or its disk fails. Send the request again after `Retry-After` "
    "seconds."
}
STORE_BUSY_ERROR = {503: "The store is busy. Try again after `Retry-After` seconds."}
