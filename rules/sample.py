"""The sample: made-up campaigns as the files that an import takes, with every kind of ranking."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from rules.pictures import picture
from rules.slots import SLOTS
from rules.story import Story

CAMPAIGNS = range(1, 12)
BANNERS = range(101, 161)
# How many banners a campaign has in all slots together; the last one has just begun.
TROUPE = 24
NEWCOMER, NEWCOMERS = CAMPAIGNS[-1], 3
FIRST_CLICK = 100_000
FIRST_CONVERSION = 2_000

# The stories of each app.
STORIES = {1: range(1, 4), 2: range(4, 5), 3: range(5, 9)}

Pair = tuple[int, int]  # banner, campaign


@dataclass(frozen=True, slots=True)
class Season:
    """How a campaign fares in a slot: the fewest and the most banners shown, clicked, converted."""

    shown: tuple[int, int]
    clicked: tuple[int, int]
    converted: tuple[int, int]


# One for each branch of the ranking, and the last for random fills.
SEASONS = (
    Season(shown=(15, 19), clicked=(13, 15), converted=(10, 13)),
    Season(shown=(12, 15), clicked=(10, 12), converted=(5, 9)),
    Season(shown=(9, 12), clicked=(6, 8), converted=(1, 4)),
    Season(shown=(8, 11), clicked=(5, 8), converted=(0, 0)),
    Season(shown=(2, 3), clicked=(1, 2), converted=(0, 0)),
)


def sample(seed: int) -> dict[str, bytes]:
    """The content of each file by its path in the folder; the same seed makes the same files."""
    chance = Random(seed)
    banners = chance.sample(BANNERS, len(BANNERS))
    files: dict[str, bytes] = {}
    first_click, first_conversion = FIRST_CLICK, FIRST_CONVERSION
    for slot in SLOTS:
        views, clicks, due = _quarter(slot, banners, chance)
        conversions: list[tuple[int, int, str]] = []
        for number, pair in enumerate(clicks, first_click):
            if due.get(pair):
                due[pair] -= 1
                sale = first_conversion + len(conversions)
                conversions.append((sale, number, _revenue(chance)))
        files |= {
            f"{slot}/impressions_{slot}.csv": _csv("banner_id,campaign_id", views),
            f"{slot}/clicks_{slot}.csv": _csv(
                "click_id,banner_id,campaign_id",
                ((number, *pair) for number, pair in enumerate(clicks, first_click)),
            ),
            f"{slot}/conversions_{slot}.csv": _csv("conversion_id,click_id,revenue", conversions),
        }
        first_click += len(clicks)
        first_conversion += len(conversions)
    # One banner in five leads nowhere, and two have no image.
    targets = ((banner, _target(banner)) for banner in BANNERS if banner % 5)
    files["targets.csv"] = _csv("banner_id,url", targets)
    return files | {f"images/image_{banner}.svg": picture(banner) for banner in sorted(banners[2:])}


def stories() -> list[Story]:
    """The stories of the sample's apps, which are known by their public tokens."""
    return [
        Story(f"token_{app}", number, f'{{"img":"image{number}.png"}}')
        for app, numbers in STORIES.items()
        for number in numbers
    ]


def _quarter(
    slot: int, banners: list[int], chance: Random
) -> tuple[list[Pair], list[Pair], dict[Pair, int]]:
    """Views and clicks of a slot in the order they came, and how many clicks are to convert."""
    views: list[Pair] = []
    clicks: list[Pair] = []
    due: dict[Pair, int] = {}
    for campaign in CAMPAIGNS:
        new = campaign == NEWCOMER
        season = SEASONS[-1 if new else (campaign + slot) % len(SEASONS)]
        first = campaign * len(banners) // len(CAMPAIGNS)
        size = NEWCOMERS if new else TROUPE
        troupe = [banners[(first + place) % len(banners)] for place in range(size)]
        clicked = chance.randint(*season.clicked)
        converted = chance.randint(*season.converted)
        for place, banner in enumerate(chance.sample(troupe, chance.randint(*season.shown))):
            pair = (banner, campaign)
            seen = chance.randint(20, 70)
            views += [pair] * seen
            if place < clicked:
                liked = _some(seen, 0.08, chance)
                clicks += [pair] * liked
                if place < converted:
                    due[pair] = _some(liked, 0.2, chance)
    chance.shuffle(views)
    chance.shuffle(clicks)
    return views, clicks, due


def _some(count: int, share: float, chance: Random) -> int:
    """About that share of them, but at least one."""
    return 1 + sum(chance.random() < share for _ in range(count - 1))


def _revenue(chance: Random) -> str:
    """Mostly about one, now and then a lot."""
    return f"{min(chance.lognormvariate(0, 0.7), 25.0):.6f}"


def _target(banner: int) -> str:
    if banner % 3:
        return f"https://example.com/offers/{banner}"
    return f"http://example.org/shop?from=banner-{banner}#top"


def _csv(header: str, rows: Iterable[tuple[object, ...]]) -> bytes:
    return "\n".join([header, *(",".join(map(str, row)) for row in rows), ""]).encode()
