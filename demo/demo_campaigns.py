"""The sample: made-up campaigns as the files that an import takes, with every kind of ranking."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from demo.banner_art import demo_banner_svg
from domain.banners.slots import SLOTS
from domain.stories.story import Story

CAMPAIGN_IDS = range(1, 12)
BANNER_IDS = range(101, 161)
# How many banners a campaign has in all slots together; the last one has just begun.
BANNERS_PER_CAMPAIGN = 24
NEW_CAMPAIGN_ID, NEW_CAMPAIGN_BANNERS = CAMPAIGN_IDS[-1], 3
FIRST_CLICK_ID = 100_000
FIRST_CONVERSION_ID = 2_000

# The stories of each app.
STORY_IDS_BY_APP = {1: range(1, 4), 2: range(4, 5), 3: range(5, 9)}

BannerInCampaign = tuple[int, int]  # banner, campaign


@dataclass(frozen=True, slots=True)
class SlotActivity:
    """How a campaign fares in a slot: the fewest and the most banners shown, clicked, converted."""

    shown: tuple[int, int]
    clicked: tuple[int, int]
    converted: tuple[int, int]


# One for each branch of the ranking, and the last for random fills.
SLOT_ACTIVITIES = (
    SlotActivity(shown=(15, 19), clicked=(13, 15), converted=(10, 13)),
    SlotActivity(shown=(12, 15), clicked=(10, 12), converted=(5, 9)),
    SlotActivity(shown=(9, 12), clicked=(6, 8), converted=(1, 4)),
    SlotActivity(shown=(8, 11), clicked=(5, 8), converted=(0, 0)),
    SlotActivity(shown=(2, 3), clicked=(1, 2), converted=(0, 0)),
)


def demo_campaign_files(seed: int) -> dict[str, bytes]:
    """The content of each file by its path in the folder; the same seed makes the same files."""
    chance = Random(seed)
    banners = chance.sample(BANNER_IDS, len(BANNER_IDS))
    files: dict[str, bytes] = {}
    first_click, first_conversion = FIRST_CLICK_ID, FIRST_CONVERSION_ID
    for slot in SLOTS:
        views, clicks, due = _slot_traffic(slot, banners, chance)
        conversions: list[tuple[int, int, str]] = []
        for number, pair in enumerate(clicks, first_click):
            if due.get(pair):
                due[pair] -= 1
                sale = first_conversion + len(conversions)
                conversions.append((sale, number, _random_revenue(chance)))
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
    targets = ((banner, _target_url(banner)) for banner in BANNER_IDS if banner % 5)
    files["targets.csv"] = _csv("banner_id,url", targets)
    return files | {
        f"images/image_{banner}.svg": demo_banner_svg(banner) for banner in sorted(banners[2:])
    }


def demo_stories() -> list[Story]:
    """The stories of the sample's apps, which are known by their public tokens."""
    return [
        Story(f"token_{app}", number, f'{{"img":"image{number}.png"}}')
        for app, numbers in STORY_IDS_BY_APP.items()
        for number in numbers
    ]


def _slot_traffic(
    slot: int, banners: list[int], chance: Random
) -> tuple[list[BannerInCampaign], list[BannerInCampaign], dict[BannerInCampaign, int]]:
    """Views and clicks of a slot in the order they came, and how many clicks are to convert."""
    views: list[BannerInCampaign] = []
    clicks: list[BannerInCampaign] = []
    due: dict[BannerInCampaign, int] = {}
    for campaign in CAMPAIGN_IDS:
        new = campaign == NEW_CAMPAIGN_ID
        season = SLOT_ACTIVITIES[-1 if new else (campaign + slot) % len(SLOT_ACTIVITIES)]
        first = campaign * len(banners) // len(CAMPAIGN_IDS)
        size = NEW_CAMPAIGN_BANNERS if new else BANNERS_PER_CAMPAIGN
        troupe = [banners[(first + place) % len(banners)] for place in range(size)]
        clicked = chance.randint(*season.clicked)
        converted = chance.randint(*season.converted)
        for place, banner in enumerate(chance.sample(troupe, chance.randint(*season.shown))):
            pair = (banner, campaign)
            seen = chance.randint(20, 70)
            views += [pair] * seen
            if place < clicked:
                liked = _random_share(seen, 0.08, chance)
                clicks += [pair] * liked
                if place < converted:
                    due[pair] = _random_share(liked, 0.2, chance)
    chance.shuffle(views)
    chance.shuffle(clicks)
    return views, clicks, due


def _random_share(count: int, share: float, chance: Random) -> int:
    """About that share of them, but at least one."""
    return 1 + sum(chance.random() < share for _ in range(count - 1))


def _random_revenue(chance: Random) -> str:
    """Mostly about one, now and then a lot."""
    return f"{min(chance.lognormvariate(0, 0.7), 25.0):.6f}"


def _target_url(banner: int) -> str:
    if banner % 3:
        return f"https://example.com/offers/{banner}"
    return f"http://example.org/shop?from=banner-{banner}#top"


def _csv(header: str, rows: Iterable[tuple[object, ...]]) -> bytes:
    return "\n".join([header, *(",".join(map(str, row)) for row in rows), ""]).encode()
