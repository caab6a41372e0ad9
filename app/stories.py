"""The stories feature: stories of apps, their events, counts and daily active users."""

from collections.abc import Iterable
from time import time_ns

from app.core import Core
from app.feature import Feature, OverviewFact, OverviewPart
from domain.common.days import day_from_micros
from handlers.admin import stories as admin_stories
from handlers.common.ingest import now_micros
from handlers.operations.metrics import MetricSample
from handlers.stories import story_events, story_list, story_stats
from store.sqlite.stories.story_cache import BatchedStoryReader, StoryCache
from store.sqlite.stories.story_event_types import StoryEventTypes
from store.sqlite.stories.story_stats import StoryStats


def build(core: Core) -> Feature:
    """Build the feature."""
    cache = StoryCache(core.database, story_list.PreparedStories, now_micros)
    stories = story_list.AppStories(BatchedStoryReader(core.database, now_micros), cache)
    ingest = story_events.StoryEventIngest(
        cache, core.event_log, core.installation_salt, StoryEventTypes(core.projections)
    )
    admin_stats = StoryStats(core.projections)

    def metrics() -> Iterable[MetricSample]:
        yield MetricSample(
            "marquee_story_cache_loads_total",
            "Reads of an app's stories into the story cache",
            cache.cache.loads,
        )

    def startup_lines(base_url: str) -> Iterable[str]:
        if core.demo_apps:
            yield f"stories     {base_url}/api/v1/stories/{core.demo_apps[0].public_token}"

    async def facts() -> list[OverviewFact]:
        users = await admin_stats.users(day_from_micros(time_ns() // 1000))
        return [("Story users today", "/admin/stories", f"{sum(users.values()):,}")]

    return Feature(
        name="stories",
        fast_routes=[*stories.fast_routes(), *ingest.fast_routes()],
        routes=story_stats.routes(StoryStats(core.projections, public=True), cache),
        admin_pages=admin_stories.routes(core.database, admin_stats),
        metrics=metrics,
        startup_lines=startup_lines,
        overview=OverviewPart(facts=facts, caches=[cache.cache]),
    )
