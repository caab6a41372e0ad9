"""Banners: campaign pages, images, clicks, conversions, candidates."""

import msgspec

from domain.banners.conversion import ConversionPayload
from domain.banners.slots import SLOTS
from handlers.openapi.operation import (
    HTML,
    LOG_FULL_ERROR,
    ApiOperation,
    ApiParameter,
    ApiRequestBody,
    ApiResource,
    ApiResponse,
)


class AcceptedResponse(msgspec.Struct):
    """The id of a stored event."""

    id: str


class RankedBanner(msgspec.Struct, omit_defaults=True):
    """A banner in the ranking of its campaign; the stats need a token with `read`."""

    banner: int
    why: str
    revenue: float | None = None
    clicks: int | None = None
    impressions: int | None = None


class CandidatesResponse(msgspec.Struct):
    """The candidates of a campaign in a slot, best first."""

    campaign: int
    slot: int
    rule: str
    banners: list[RankedBanner]


IMAGE_SCHEMA = {"type": "string", "contentMediaType": "image/*"}
PREFETCH_REFUSED = "The request is a prefetch (`Sec-Purpose: prefetch`)."
BANNERS_RESOURCE = ApiResource(
    "Banners",
    "Each view of a campaign page shows one of its best banners in the current slot, never the "
    "same banner twice in a row.",
    (
        ApiOperation(
            "GET",
            "/campaigns/{campaign}",
            "Show a campaign page with one of its banners",
            {200: ApiResponse("The page.", str, HTML, {"Set-Cookie": "The last banner shown."})},
            description="A cookie per campaign holds the last banner shown.",
            errors={404: "Unknown campaign.", 503: PREFETCH_REFUSED},
            html_errors=True,
        ),
        ApiOperation(
            "GET",
            "/campaigns/{campaign}/banners/{banner}/click",
            "Record a click and redirect to the target of the banner",
            {
                302: ApiResponse(
                    "The click is stored.", headers={"Location": "The target of the banner."}
                )
            },
            description="`mq_click`, the id of the click, is added to the query of the target.",
            errors={404: "Unknown campaign or banner.", 503: PREFETCH_REFUSED},
            html_errors=True,
        ),
        ApiOperation(
            "GET",
            "/banners/{banner}",
            "Image of a banner",
            {
                200: ApiResponse(
                    "The image, or a placeholder with the number of the banner.",
                    IMAGE_SCHEMA,
                    "image/*",
                ),
                304: ApiResponse("Not modified (`If-None-Match`)."),
            },
            parameters=[
                ApiParameter("If-None-Match", "The `ETag` of your copy.", location="header")
            ],
            errors={404: "Unknown banner."},
            html_errors=True,
        ),
        ApiOperation(
            "GET",
            "/api/v1/campaigns/{campaign}/candidates",
            "Candidates of a campaign and the reasons for their ranks",
            {200: ApiResponse("The candidates, best first.", CandidatesResponse)},
            parameters=[
                ApiParameter(
                    "slot",
                    "15-minute slot of the hour; default: the current one.",
                    {"type": "integer", "enum": list(SLOTS)},
                )
            ],
            scopes=["read"],
            token_optional=True,
            errors={404: "Unknown campaign.", 422: "`slot` is invalid."},
            description="Without a token: the banners and reasons. With a `read` token: their "
            "stats, too.",
        ),
        ApiOperation(
            "POST",
            "/api/v1/conversions",
            "Store a conversion of a click",
            {202: ApiResponse("Stored.", AcceptedResponse, example={"id": "7531444171945543680"})},
            request_bodies=[
                ApiRequestBody(
                    ConversionPayload,
                    {"click_id": "7531444171945543680", "revenue": 12.5, "conversion_id": "A-1001"},
                )
            ],
            scopes=["write"],
            errors={
                400: "The body is not JSON.",
                409: "Another conversion with this `conversion_id` (or `sender_id`) exists.",
                422: "Invalid, or the click is unknown. The body is stored as a rejected event.",
                **LOG_FULL_ERROR,
            },
            description="`click_id` is the `mq_click` in the query of the target. `conversion_id` "
            "is the app's own id of the conversion (7 and '7' are equal): a retry with it is "
            "stored once and gets the same response, and `sender_id` is ignored. These ids are "
            "independent of the ids of imported conversions.",
        ),
    ),
)
