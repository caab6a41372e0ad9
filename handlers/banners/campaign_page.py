"""A campaign's page in a browser, and where a click on its banner leads."""

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

# A visitor forgets after an hour what was shown last.
LAST_BANNER_TTL_SECONDS = 3600
# The argument that hands a click's id on to where it leads.
CLICK_ID_PARAMETER = "mq_click"
# A cookie whose name begins so was set over TLS, or a browser would not have taken it.
SECURE_COOKIE_PREFIX = "__Secure-"

# Keeps a click by its (campaign, banner, slot).
RecordClick = Callable[[int, int, int], Awaitable[int | None]]


class PreparedPage:
    """One banner of one campaign, ready to be sent, and how often it was since last counted."""

    __slots__ = ("banner", "plain", "secure", "views")

    def __init__(self, banner: int, plain: Response, secure: Response) -> None:
        self.banner = banner
        self.plain = plain
        self.secure = secure
        self.views = 0


class CampaignRotation:
    """A campaign's candidates in one slot: ready-made answers, and the cookie that tells them."""

    __slots__ = ("cookie", "places", "secure_cookie", "shown")

    def __init__(self, cookie: str, shown: tuple[PreparedPage, ...]) -> None:
        self.cookie = cookie
        self.secure_cookie = SECURE_COOKIE_PREFIX + cookie
        self.shown = shown
        self.places = {str(each.banner): place for place, each in enumerate(shown)}

    @classmethod
    def make(
        cls,
        pages: PageTemplates,
        campaign: int,
        ranking: Ranking,
        known: "CampaignRotation | None" = None,
    ) -> "CampaignRotation":
        """The stage of a campaign that shows its candidates; a `known` one, if it shows these."""
        banners = {each.banner for each in ranking.candidates}
        if known is not None and banners == {each.banner for each in known.shown}:
            return known
        cookie = f"mq_last_{campaign}"
        shown = (_prepare_page(pages, campaign, cookie, each.banner) for each in ranking.candidates)
        return cls(cookie, tuple(shown))


def _prepare_page(pages: PageTemplates, campaign: int, cookie: str, banner: int) -> PreparedPage:
    body = pages.render("campaign.html", campaign=campaign, banner=banner)
    path = f"/campaigns/{campaign}"
    told = f"{cookie}={banner}; Path={path}; Max-Age={LAST_BANNER_TTL_SECONDS}; HttpOnly"
    headers = [HTML_CONTENT_TYPE, NO_STORE, *SECURITY_HEADERS]
    plain = Response(200, [*headers, ("Set-Cookie", f"{told}; SameSite=Lax")], body)
    sealed = f"{SECURE_COOKIE_PREFIX}{told}; SameSite=Lax; Secure"
    secure = Response(200, [*headers, ("Set-Cookie", sealed)], body)
    return PreparedPage(banner, plain, secure)


class SlotPlan:
    """What every campaign shows in one slot."""

    def __init__(
        self,
        slot: int,
        stages: Mapping[str, CampaignRotation],
        banners: Collection[int],
        targets: Mapping[int, str],
    ) -> None:
        """`stages` by the campaign's number as it stands in a path; `targets` by banner."""
        self.slot = slot
        self.stages = stages
        self.banners = banners
        self.targets = targets

    def views(self) -> Iterator[tuple[tuple[int, int, int], int]]:
        """Take the views counted since last asked, as ((slot, campaign, banner), count)."""
        for campaign, stage in self.stages.items():
            for shown in stage.shown:
                if count := shown.views:
                    shown.views = 0
                    yield (self.slot, int(campaign), shown.banner), count


class CampaignPages:
    """The lanes of `/campaigns/`, over whatever programme is on."""

    def __init__(
        self, pages: PageTemplates, record: RecordClick, chance: Callable[[], float] = random
    ) -> None:
        """`record` keeps a click; its id, None if it could not be kept."""
        self._record = record
        self._chance = chance
        self._off = pages.error_response(404, "There is no campaign with this number.")
        self._gone = pages.error_response(404, "There is no such banner, or no such campaign.")
        # After a 503, the browser repeats the request when the visitor arrives, which counts once.
        self._early = pages.error_response(503, "This page cannot be prefetched.")
        self._programme = SlotPlan(1, {}, (), {})

    @property
    def programme(self) -> SlotPlan:
        """What is on."""
        return self._programme

    def show(self, programme: SlotPlan) -> None:
        """Put `programme` on, at once and for every visitor."""
        self._programme = programme

    def page(self, request: Request) -> Response:
        """One of the campaign's banners, by chance, but not the one this visitor saw last."""
        stage = self._programme.stages.get(request.params[0])
        if stage is None:
            return self._off
        if is_prefetch(request):
            return self._early
        secure = request.secure
        cookie = stage.secure_cookie if secure else stage.cookie
        said = request.cookie(cookie)
        last = stage.places.get(said)  # type: ignore[arg-type]
        if last is None and said is not None:  # another path's cookie may stand before this one's
            others = map(stage.places.get, request.cookies(cookie))
            last = next((each for each in others if each is not None), None)
        shown = stage.shown[next_candidate_index(len(stage.shown), last, self._chance)]
        if request.method == "GET":
            shown.views += 1
        return shown.secure if secure else shown.plain

    async def click(self, request: Request) -> Response:
        """Record the click, and lead to the banner's stored target, or back to the page.

        Never to where a request says. Whether or not the click could be recorded, its visitor is
        led on; only a click that is on disk has an id to hand on.
        """
        campaign, banner = request.params
        programme = self._programme
        if campaign not in programme.stages or int(banner) not in programme.banners:
            return self._gone
        if is_prefetch(request):
            return self._early
        click = None
        if request.method == "GET":
            click = await self._record(int(campaign), int(banner), programme.slot)
        url = programme.targets.get(int(banner))
        if url is None:
            url = f"/campaigns/{campaign}/"
        elif click is not None:
            url = add_query_argument(url, CLICK_ID_PARAMETER, str(click))
        return Response(302, [("Location", location_header(url)), NO_STORE, *SECURITY_HEADERS])

    def lanes(self) -> list[FastRoute]:
        """Page and click."""
        return [
            FastRoute("GET", r"/campaigns/(\d{1,19})", self.page, name="campaign page"),
            FastRoute(
                "GET",
                r"/campaigns/(\d{1,19})/banners/(\d{1,19})/click",
                self.click,
                name="banner click",
            ),
        ]
