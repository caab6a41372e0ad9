"""Campaign pages, and the redirect of a click on a banner."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from random import random

from domain.banners.click_target import add_query_argument, location_header
from domain.banners.ranking import Ranking
from domain.banners.rotation import next_candidate_index
from handlers.common.responses import (
    HTML_CONTENT_TYPE,
    NO_STORE,
    SECURITY_HEADERS,
    PageTemplates,
    is_prefetch,
)
from httpserver import FastRoute, Request, Response

# Lifetime of the cookie with the last banner shown.
LAST_BANNER_TTL_SECONDS = 3600
# Query argument that passes the id of a click to the target.
CLICK_ID_PARAMETER = "mq_click"
# Browsers accept a cookie with this prefix only over TLS (RFC 6265bis, 4.1.3.1).
SECURE_COOKIE_PREFIX = "__Secure-"

# Stores a click of (campaign, banner, slot) and returns its id; None if it cannot be stored.
RecordClick = Callable[[int, int, int], Awaitable[int | None]]


class PreparedPage:
    """The prepared responses for one banner of a campaign, and its uncollected impressions."""

    __slots__ = ("banner", "impressions", "response", "secure_response")

    def __init__(self, banner: int, response: Response, secure_response: Response) -> None:
        """`secure_response` is for requests over TLS; its cookie is `Secure`."""
        self.banner = banner
        self.response = response
        self.secure_response = secure_response
        self.impressions = 0


class CampaignRotation:
    """The prepared pages of a campaign in one slot, and the name of its cookie."""

    __slots__ = ("cookie", "pages", "positions", "secure_cookie")

    def __init__(self, cookie: str, pages: tuple[PreparedPage, ...]) -> None:
        self.cookie = cookie
        self.secure_cookie = SECURE_COOKIE_PREFIX + cookie
        self.pages = pages
        # Position by the banner number as it stands in the cookie.
        self.positions = {str(each.banner): position for position, each in enumerate(pages)}

    @classmethod
    def build(
        cls,
        templates: PageTemplates,
        campaign: int,
        ranking: Ranking,
        previous: "CampaignRotation | None" = None,
    ) -> "CampaignRotation":
        """Return the rotation of these candidates; `previous` if its banners are the same."""
        banners = {each.banner for each in ranking.candidates}
        if previous is not None and banners == {each.banner for each in previous.pages}:
            return previous
        cookie = f"mq_last_{campaign}"
        return cls(
            cookie,
            tuple(
                _prepare_page(templates, campaign, cookie, each.banner)
                for each in ranking.candidates
            ),
        )


def _prepare_page(
    templates: PageTemplates, campaign: int, cookie: str, banner: int
) -> PreparedPage:
    body = templates.render("campaign.html", campaign=campaign, banner=banner)
    path = f"/campaigns/{campaign}"
    value = f"{cookie}={banner}; Path={path}; Max-Age={LAST_BANNER_TTL_SECONDS}; HttpOnly"
    headers = [HTML_CONTENT_TYPE, NO_STORE, *SECURITY_HEADERS]
    response = Response(200, [*headers, ("Set-Cookie", f"{value}; SameSite=Lax")], body)
    secure_value = f"{SECURE_COOKIE_PREFIX}{value}; SameSite=Lax; Secure"
    secure_response = Response(200, [*headers, ("Set-Cookie", secure_value)], body)
    return PreparedPage(banner, response, secure_response)


class SlotPlan:
    """The rotations of all campaigns in one slot."""

    def __init__(
        self,
        slot: int,
        rotations: Mapping[str, CampaignRotation],
        banners: Collection[int],
        target_urls: Mapping[int, str],
    ) -> None:
        """`rotations` is keyed by the campaign number in the path, `target_urls` by banner."""
        self.slot = slot
        self.rotations = rotations
        self.banners = banners
        self.target_urls = target_urls

    def take_impressions(self) -> Iterator[tuple[tuple[int, int, int], int]]:
        """Yield ((slot, campaign, banner), impressions) and reset the counts."""
        for campaign, rotation in self.rotations.items():
            for page in rotation.pages:
                if count := page.impressions:
                    page.impressions = 0
                    yield (self.slot, int(campaign), page.banner), count


class CampaignPages:
    """The fast routes of `/campaigns/`, which serve the active slot plan."""

    def __init__(
        self,
        templates: PageTemplates,
        record_click: RecordClick,
        random_float: Callable[[], float] = random,
    ) -> None:
        """`random_float` returns a number in [0, 1)."""
        self._record_click = record_click
        self._random_float = random_float
        self._unknown_campaign = templates.error_response(404, "Unknown campaign.")
        self._unknown_banner = templates.error_response(404, "Unknown campaign or banner.")
        # After a 503 browsers repeat the request on the real visit, which then counts once.
        self._prefetch_refused = templates.error_response(503, "This page cannot be prefetched.")
        self._slot_plan = SlotPlan(1, {}, (), {})

    @property
    def slot_plan(self) -> SlotPlan:
        """The active slot plan."""
        return self._slot_plan

    def activate(self, slot_plan: SlotPlan) -> None:
        """Serve `slot_plan` from the next request on."""
        self._slot_plan = slot_plan

    def page(self, request: Request) -> Response:
        """Return a random banner of the campaign, never the one this visitor saw last."""
        rotation = self._slot_plan.rotations.get(request.params[0])
        if rotation is None:
            return self._unknown_campaign
        if is_prefetch(request):
            return self._prefetch_refused
        secure = request.secure
        cookie = rotation.secure_cookie if secure else rotation.cookie
        value = request.cookie(cookie)
        last = rotation.positions.get(value)  # type: ignore[arg-type]
        if last is None and value is not None:  # a cookie of another path may come first
            others = map(rotation.positions.get, request.cookies(cookie))
            last = next((each for each in others if each is not None), None)
        index = next_candidate_index(len(rotation.pages), last, self._random_float)
        page = rotation.pages[index]
        if request.method == "GET":
            page.impressions += 1
        return page.secure_response if secure else page.response

    async def click(self, request: Request) -> Response:
        """Record the click and redirect to the target of the banner, or back to the page.

        The target is always the stored one, never part of the request. A click that cannot be
        stored still redirects, without an id.
        """
        campaign, banner = request.params
        plan = self._slot_plan
        if campaign not in plan.rotations or int(banner) not in plan.banners:
            return self._unknown_banner
        if is_prefetch(request):
            return self._prefetch_refused
        click = None
        if request.method == "GET":
            click = await self._record_click(int(campaign), int(banner), plan.slot)
        url = plan.target_urls.get(int(banner))
        if url is None:
            url = f"/campaigns/{campaign}/"
        elif click is not None:
            url = add_query_argument(url, CLICK_ID_PARAMETER, str(click))
        return Response(302, [("Location", location_header(url)), NO_STORE, *SECURITY_HEADERS])

    def fast_routes(self) -> list[FastRoute]:
        """Return the routes of the page and the click."""
        return [
            FastRoute("GET", r"/campaigns/(\d{1,19})", self.page, name="campaign page"),
            FastRoute(
                "GET",
                r"/campaigns/(\d{1,19})/banners/(\d{1,19})/click",
                self.click,
                name="banner click",
            ),
        ]
