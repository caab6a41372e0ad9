"""A campaign's page in a browser, and where a click on its banner leads."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from random import random

from handlers.answers import HTML, NO_STORE, SECURITY, Pages, prefetched
from rules.address import location, with_argument
from rules.ranking import Ranking
from rules.rotation import draw
from wire import Lane, Request, Response

# A visitor forgets after an hour what was shown last.
REMEMBERED = 3600
# The argument that hands a click's id on to where it leads.
CLICKED = "mq_click"
# A cookie whose name begins so was set over TLS, or a browser would not have taken it.
SECURE = "__Secure-"

# Keeps a click by its (campaign, banner, slot).
Record = Callable[[int, int, int], Awaitable[int | None]]


class Shown:
    """One banner of one campaign, ready to be sent, and how often it was since last counted."""

    __slots__ = ("banner", "plain", "secure", "views")

    def __init__(self, banner: int, plain: Response, secure: Response) -> None:
        self.banner = banner
        self.plain = plain
        self.secure = secure
        self.views = 0


class Stage:
    """A campaign's candidates in one slot: ready-made answers, and the cookie that tells them."""

    __slots__ = ("cookie", "places", "secure_cookie", "shown")

    def __init__(self, cookie: str, shown: tuple[Shown, ...]) -> None:
        self.cookie = cookie
        self.secure_cookie = SECURE + cookie
        self.shown = shown
        self.places = {str(each.banner): place for place, each in enumerate(shown)}

    @classmethod
    def make(
        cls, pages: Pages, campaign: int, ranking: Ranking, known: "Stage | None" = None
    ) -> "Stage":
        """The stage of a campaign that shows its candidates; a `known` one, if it shows these."""
        banners = {each.banner for each in ranking.candidates}
        if known is not None and banners == {each.banner for each in known.shown}:
            return known
        cookie = f"mq_last_{campaign}"
        shown = (_shown(pages, campaign, cookie, each.banner) for each in ranking.candidates)
        return cls(cookie, tuple(shown))


def _shown(pages: Pages, campaign: int, cookie: str, banner: int) -> Shown:
    body = pages.html("campaign.html", campaign=campaign, banner=banner)
    told = f"{cookie}={banner}; Path=/campaigns/{campaign}; Max-Age={REMEMBERED}; HttpOnly"
    headers = [HTML, NO_STORE, *SECURITY]
    plain = Response(200, [*headers, ("Set-Cookie", f"{told}; SameSite=Lax")], body)
    sealed = f"{SECURE}{told}; SameSite=Lax; Secure"
    secure = Response(200, [*headers, ("Set-Cookie", sealed)], body)
    return Shown(banner, plain, secure)


class Programme:
    """What every campaign shows in one slot."""

    def __init__(
        self,
        slot: int,
        stages: Mapping[str, Stage],
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


class Campaigns:
    """The lanes of `/campaigns/`, over whatever programme is on."""

    def __init__(self, pages: Pages, record: Record, chance: Callable[[], float] = random) -> None:
        """`record` keeps a click; its id, None if it could not be kept."""
        self._record = record
        self._chance = chance
        self._off = pages.error(404, "There is no campaign with this number.")
        self._gone = pages.error(404, "There is no such banner, or no such campaign.")
        # After a 503, the browser repeats the request when the visitor arrives, which counts once.
        self._early = pages.error(503, "This page cannot be prefetched.")
        self._programme = Programme(1, {}, (), {})

    @property
    def programme(self) -> Programme:
        """What is on."""
        return self._programme

    def show(self, programme: Programme) -> None:
        """Put `programme` on, at once and for every visitor."""
        self._programme = programme

    def page(self, request: Request) -> Response:
        """One of the campaign's banners, by chance, but not the one this visitor saw last."""
        stage = self._programme.stages.get(request.params[0])
        if stage is None:
            return self._off
        if prefetched(request):
            return self._early
        secure = request.secure
        cookie = stage.secure_cookie if secure else stage.cookie
        said = request.cookie(cookie)
        last = stage.places.get(said)  # type: ignore[arg-type]
        if last is None and said is not None:  # another path's cookie may stand before this one's
            others = map(stage.places.get, request.cookies(cookie))
            last = next((each for each in others if each is not None), None)
        shown = stage.shown[draw(len(stage.shown), last, self._chance)]
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
        if prefetched(request):
            return self._early
        click = None
        if request.method == "GET":
            click = await self._record(int(campaign), int(banner), programme.slot)
        url = programme.targets.get(int(banner))
        if url is None:
            url = f"/campaigns/{campaign}/"
        elif click is not None:
            url = with_argument(url, CLICKED, str(click))
        return Response(302, [("Location", location(url)), NO_STORE, *SECURITY])

    def lanes(self) -> list[Lane]:
        """Page and click."""
        return [
            Lane("GET", r"/campaigns/(\d{1,19})", self.page, name="campaign page"),
            Lane(
                "GET",
                r"/campaigns/(\d{1,19})/banners/(\d{1,19})/click",
                self.click,
                name="banner click",
            ),
        ]
