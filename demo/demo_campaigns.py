"""Campaign files of the demo, for an import; they cover every branch of the ranking."""

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random

from demo.banner_art import demo_banner_svg
from domain.banners.slots import SLOTS
from domain.stories.story import Story

CAMPAIGN_IDS = range(1, 12)
BANNER_IDS = range(101, 161)
# Banners of a campaign over all slots; NEW_CAMPAIGN_ID has fewer.
BANNERS_PER_CAMPAIGN = 24
NEW_CAMPAIGN_ID, NEW_CAMPAIGN_BANNERS = CAMPAIGN_IDS[-1], 3
FIRST_CLICK_ID = 100_000
FIRST_CONVERSION_ID = 2_000

# Story ids by the app's number.
STORY_IDS_BY_APP = {1: range(1, 4), 2: range(4, 5), 3: range(5, 9)}

BannerInCampaign = tuple[int, int]  # banner, campaign


@dataclass(frozen=True, slots=True)
class SlotActivity:
    """Ranges (minimum, maximum) of a campaign's shown, clicked and converted banners in a slot."""

    shown: tuple[int, int]
    clicked: tuple[int, int]
    converted: tuple[int, int]


# One for each branch of the ranking; the last one needs random fills.
SLOT_ACTIVITIES = (
    SlotActivity(shown=(15, 19), clicked=(13, 15), converted=(10, 13)),
    SlotActivity(shown=(12, 15), clicked=(10, 12), converted=(5, 9)),
    SlotActivity(shown=(9, 12), clicked=(6, 8), converted=(1, 4)),
    SlotActivity(shown=(8, 11), clicked=(5, 8), converted=(0, 0)),
    SlotActivity(shown=(2, 3), clicked=(1, 2), converted=(0, 0)),
)


def demo_campaign_files(seed: int) -> dict[str, bytes]:
    """Return file contents by path in the folder; the same seed returns the same files."""
    rng = Random(seed)
    banners = rng.sample(BANNER_IDS, len(BANNER_IDS))
    files: dict[str, bytes] = {}
    first_click, first_conversion = FIRST_CLICK_ID, FIRST_CONVERSION_ID
    for slot in SLOTS:
        impressions, clicks, converting = _slot_traffic(slot, banners, rng)
        conversions: list[tuple[int, int, str]] = []
        for number, pair in enumerate(clicks, first_click):
            if converting.get(pair):
                converting[pair] -= 1
                conversion = first_conversion + len(conversions)
                conversions.append((conversion, number, _random_revenue(rng)))
        files |= {
            f"{slot}/impressions_{slot}.csv": _csv("banner_id,campaign_id", impressions),
            f"{slot}/clicks_{slot}.csv": _csv(
                "click_id,banner_id,campaign_id",
                ((number, *pair) for number, pair in enumerate(clicks, first_click)),
            ),
            f"{slot}/conversions_{slot}.csv": _csv("conversion_id,click_id,revenue", conversions),
        }
        first_click += len(clicks)
        first_conversion += len(conversions)
    # One banner in five has no target URL, and two have no image.
    targets = ((banner, _target_url(banner)) for banner in BANNER_IDS if banner % 5)
    files["targets.csv"] = _csv("banner_id,url", targets)
    return files | {
        f"images/image_{banner}.svg": demo_banner_svg(banner) for banner in sorted(banners[2:])
    }


def demo_stories() -> list[Story]:
    """Return the stories of the demo apps."""
    return [
        Story(f"token_{app}", number, f'{{"img":"image{number}.png"}}')
        for app, numbers in STORY_IDS_BY_APP.items()
        for number in numbers
    ]


def _slot_traffic(
    slot: int, banners: list[int], rng: Random
) -> tuple[list[BannerInCampaign], list[BannerInCampaign], dict[BannerInCampaign, int]]:
    """Return impressions and clicks in order, and the number of converting clicks by banner."""
    impressions: list[BannerInCampaign] = []
    clicks: list[BannerInCampaign] = []
    converting: dict[BannerInCampaign, int] = {}
    for campaign in CAMPAIGN_IDS:
        is_new = campaign == NEW_CAMPAIGN_ID
        activity = SLOT_ACTIVITIES[-1 if is_new else (campaign + slot) % len(SLOT_ACTIVITIES)]
        first = campaign * len(banners) // len(CAMPAIGN_IDS)
        size = NEW_CAMPAIGN_BANNERS if is_new else BANNERS_PER_CAMPAIGN
        campaign_banners = [banners[(first + position) % len(banners)] for position in range(size)]
        clicked = rng.randint(*activity.clicked)
        converted = rng.randint(*activity.converted)
        shown = rng.sample(campaign_banners, rng.randint(*activity.shown))
        for position, banner in enumerate(shown):
            pair = (banner, campaign)
            impression_count = rng.randint(20, 70)
            impressions += [pair] * impression_count
            if position < clicked:
                click_count = _random_share(impression_count, 0.08, rng)
                clicks += [pair] * click_count
                if position < converted:
                    converting[pair] = _random_share(click_count, 0.2, rng)
    rng.shuffle(impressions)
    rng.shuffle(clicks)
    return impressions, clicks, converting


def _random_share(count: int, share: float, rng: Random) -> int:
    """Return a random number of about `share * count`, at least 1."""
    return 1 + sum(rng.random() < share for _ in range(count - 1))


def _random_revenue(rng: Random) -> str:
    """Return a revenue as text: about 1.0 for most conversions, up to 25.0 for a few."""
    return f"{min(rng.lognormvariate(0, 0.7), 25.0):.6f}"


def _target_url(banner: int) -> str:
    if banner % 3:
        return f"https://example.com/offers/{banner}"
    return f"http://example.org/shop?from=banner-{banner}#top"


def _csv(header: str, rows: Iterable[tuple[object, ...]]) -> bytes:
    return "\n".join([header, *(",".join(map(str, row)) for row in rows), ""]).encode()
