"""Banners: campaigns' pages, images, clicks, conversions, and why a banner is shown."""

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
    """What was taken, and is on disk."""

    id: str


class RankedBanner(msgspec.Struct, omit_defaults=True):
    """A banner in its campaign's ranking; figures are told to a token with `read`."""

    banner: int
    why: str
    revenue: float | None = None
    clicks: int | None = None
    impressions: int | None = None


class CandidatesResponse(msgspec.Struct):
    """What a campaign shows in a quarter of the hour, in rank order."""

    campaign: int
    slot: int
    rule: str
    banners: list[RankedBanner]


IMAGE_SCHEMA = {"type": "string", "contentMediaType": "image/*"}
PREFETCH_REFUSED = "The request is a prefetch (`Sec-Purpose: prefetch`)."
BANNERS_RESOURCE = ApiResource(
    "Banners",
    "One of a campaign's best banners of this quarter of the hour, never the same twice running.",
    (
        ApiOperation(
            "GET",
            "/campaigns/{campaign}",
            "A campaign's page, with one of its banners",
            {200: ApiResponse("The page.", str, HTML, {"Set-Cookie": "What was shown last."})},
            words="Which banner was shown last is in a cookie of this campaign alone.",
            wrong={404: "There is no such campaign.", 503: PREFETCH_REFUSED},
            for_people=True,
        ),
        ApiOperation(
            "GET",
            "/campaigns/{campaign}/banners/{banner}/click",
            "Where a click on the banner leads",
            {
                302: ApiResponse(
                    "The click is on disk.", headers={"Location": "The banner's target."}
                )
            },
            words="The target has `mq_click`, the click's id, added to its query.",
            wrong={404: "There is no such campaign, or no such banner.", 503: PREFETCH_REFUSED},
            for_people=True,
        ),
        ApiOperation(
            "GET",
            "/banners/{banner}",
            "A banner's image",
            {
                200: ApiResponse(
                    "The image, or one drawn with its number.", IMAGE_SCHEMA, "image/*"
                ),
                304: ApiResponse("The one you have (`If-None-Match`) is the same."),
            },
            arguments=[ApiParameter("If-None-Match", "The `ETag` of yours.", where="header")],
            wrong={404: "There is no such banner."},
            for_people=True,
        ),
        ApiOperation(
            "GET",
            "/api/v1/campaigns/{campaign}/candidates",
            "What a campaign shows, and why",
            {200: ApiResponse("The banners in rank order.", CandidatesResponse)},
            arguments=[
                ApiParameter(
                    "slot",
                    "A quarter of the hour; the present one if not said.",
                    {"type": "integer", "enum": list(SLOTS)},
                )
            ],
            scopes=["read"],
            optional=True,
            wrong={404: "There is no such campaign.", 422: "`slot` is none."},
            words="Without a token: banners and why. With one that may `read`: figures too.",
        ),
        ApiOperation(
            "POST",
            "/api/v1/conversions",
            "What a click has earned",
            {
                202: ApiResponse(
                    "It is on disk.", AcceptedResponse, example={"id": "7531444171945543680"}
                )
            },
            bodies=[
                ApiRequestBody(
                    ConversionPayload,
                    {"click_id": "7531444171945543680", "revenue": 12.5, "conversion_id": "A-1001"},
                )
            ],
            scopes=["write"],
            wrong={
                400: "The body is not JSON.",
                409: "Another conversion with this `conversion_id` (or `sender_id`) exists.",
                422: "It is wrong, or of no known click; it is kept among the rejected events.",
                **LOG_FULL_ERROR,
            },
            words="`click_id` is the `mq_click` that the target was opened with. With "
            "`conversion_id`, the app's own id of the conversion (7 and '7' are the same), a retry "
            "is stored once and gets the same response; `sender_id` is then ignored. The ids are "
            "independent of those of imported conversions.",
        ),
    ),
)
