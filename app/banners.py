"""The banners feature: campaign pages, clicks, images, conversions, uploads."""

import asyncio
import sys
from collections.abc import Iterable
from dataclasses import replace

from app.core import Core
from app.feature import Feature, OverviewFact, OverviewPart
from app.settings import IS_SINGLE_FILE, PROGRAM_FOLDER, command_line
from background.banners.impression_writer import ImpressionWriter
from background.banners.slot_scheduler import SlotScheduler
from background.banners.upload_worker import ProgressCallback, UploadWorker
from handlers.admin import campaigns, uploads
from handlers.admin.overview import DashboardChart
from handlers.banners.banner_image import BannerImages
from handlers.banners.campaign_page import CampaignPages, SlotPlan
from handlers.banners.campaign_ranking import CampaignRanker, prepare_slot_plan, utc_now
from handlers.banners.candidates import CandidatesHandler
from handlers.banners.conversions import ConversionsHandler
from handlers.common.route import Route
from imports.import_process import run_import_process
from imports.import_report import ImportReport
from imports.upload_folder import UploadFolder, remove_stale_uploads
from store.sqlite.banners.campaign_stats import (
    CampaignStats,
    load_campaign_stats,
    load_live_stats,
)
from store.sqlite.banners.image_store import ImageStore
from store.sqlite.banners.impressions import add_impressions
from store.sqlite.core.data_folder import IMAGES_FOLDER
from store.sqlite.events.click_log import ClickLog

# The single-file executable is the program itself; otherwise Python runs server.py.
SERVER_SCRIPT_ARGUMENTS = [] if IS_SINGLE_FILE else [str(PROGRAM_FOLDER / "server.py")]


def build(core: Core) -> Feature:
    """Build the feature."""
    settings, database = core.settings, core.database
    images = ImageStore(database, core.data / IMAGES_FOLDER, settings.image_cache)
    pages = CampaignPages(core.pages, ClickLog(core.event_log).record)
    impressions = ImpressionWriter(
        lambda: pages.slot_plan.take_impressions(), lambda counts: add_impressions(database, counts)
    )

    def show(plan: SlotPlan) -> None:
        # The impressions of the plan before are counted in its pages.
        impressions.collect()
        pages.activate(plan)

    async def with_live_stats(stats: CampaignStats) -> CampaignStats:
        live = await load_live_stats(core.projections.read_internal)
        return stats if live == stats.live else replace(stats, live=live)

    async def load_stats() -> CampaignStats:
        stats = await load_campaign_stats(database)
        return await with_live_stats(stats) if settings.live_stats else stats

    scheduler: SlotScheduler[CampaignStats, SlotPlan] = SlotScheduler(
        load_stats,
        lambda stats, period, before: prepare_slot_plan(core.pages, stats, period, before),
        show,
        zone=settings.time_zone(),
        clock=utc_now,
        renew=with_live_stats if settings.live_stats else None,
    )
    ranker = CampaignRanker(database, lambda: scheduler.book, settings.time_zone())
    upload_worker = UploadWorker(lambda *upload: _import_upload(core, *upload))
    page_routes = pages.fast_routes()
    image_routes = BannerImages(
        core.pages, lambda: pages.slot_plan.banners, images.get
    ).fast_routes()

    async def start() -> None:
        await scheduler.reload()
        await asyncio.to_thread(remove_stale_uploads, core.data)

    async def import_published() -> None:
        images.clear_cache()
        await scheduler.reload()

    def notes() -> Iterable[str]:
        if impressions.failing:
            yield f"cannot flush impressions; retrying: {impressions.failing}"

    def startup_lines(base_url: str) -> Iterable[str]:
        first = next(iter(scheduler.book.campaigns), None)
        if first is None:
            yield f"campaign    none yet; run: {command_line('import DIR', settings.data)}"
        else:
            yield f"campaign    {base_url}/campaigns/{first}/"
            yield f"candidates  {base_url}/api/v1/campaigns/{first}/candidates"

    def page_count() -> int:
        return sum(it.statuses[200] for it in page_routes if it.name == "campaign page")

    async def facts() -> list[OverviewFact]:
        return [("Campaigns", "/admin/campaigns", f"{len(scheduler.book.campaigns):,}")]

    def hints() -> list[tuple[str, str]]:
        if scheduler.book.campaigns:
            return []
        return [("/admin/campaigns/upload", "Upload a campaign folder")]

    return Feature(
        name="banners",
        fast_routes=[*page_routes, *image_routes],
        routes=[
            Route(
                r"/api/v1/campaigns/(\d{1,19})/candidates",
                CandidatesHandler,
                {"current_slot": ranker.current_slot, "rank": ranker.rank},
                "candidates",
            ),
            Route(
                r"/api/v1/conversions",
                ConversionsHandler,
                {"database": database, "log": core.event_log},
                "conversions",
            ),
        ],
        admin_pages=[
            *campaigns.routes(lambda: scheduler.book, ranker.current_slot, ranker.rank),
            *uploads.routes(database, upload_worker, core.data, settings.max_upload),
        ],
        workers=[scheduler.run, impressions.run],
        start=start,
        close=upload_worker.close,
        stop=impressions.once,
        import_published=import_published,
        readiness_checks={"warm": lambda: scheduler.ready},
        readiness_notes=notes,
        startup_lines=startup_lines,
        overview=OverviewPart(
            count_charts=[(DashboardChart("pages", "Banner pages", "per second"), page_count)],
            facts=facts,
            hints=hints,
            caches=[images.cache],
        ),
    )


async def _import_upload(
    core: Core, upload: UploadFolder, source: str, progress: ProgressCallback
) -> ImportReport:
    # The `import` command in a process of its own: parsing would block the event loop.
    settings = core.settings
    command = [sys.executable, *SERVER_SCRIPT_ARGUMENTS, "import", str(upload.folder)]
    command += ["--source", source, "--json", "--progress", "--data", str(core.data.resolve())]
    command += ["--log-level", settings.log_level, "--log-format", settings.log_format]
    return await run_import_process(command, progress)
