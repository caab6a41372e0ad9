"""Loads the demo data into an empty installation for `serve --sample`."""

import tempfile
from pathlib import Path

from demo import demo_traffic
from demo.demo_campaigns import demo_campaign_files, demo_stories
from imports.importer import import_folder
from store.sqlite.admin.apps import CreateApp, NewApp, has_apps
from store.sqlite.admin.password_hashing import generate_password, hash_password
from store.sqlite.admin.users import CreateUser, has_users
from store.sqlite.banners.campaign_stats import has_campaigns
from store.sqlite.core.database import Database
from store.sqlite.imports.import_staging import ImportStaging
from store.sqlite.stories.stories import PutStories

DEMO_APP_NUMBERS = (1, 2, 3)
DEMO_SEED = 1
DEMO_USER = "owner"
# The actor in the audit log and the list of imports.
DEMO_ACTOR = "the sample"


async def is_empty(database: Database) -> bool:
    """Return whether the installation has neither apps nor campaigns."""
    return not await has_apps(database) and not await has_campaigns(database)


async def load_demo_data(database: Database, images: Path) -> list[NewApp]:
    """Load the demo data; return its apps with their secret tokens, which are not stored."""
    with tempfile.TemporaryDirectory() as folder:
        write_campaign_folder(Path(folder))
        staging = ImportStaging(database, images)
        await import_folder(Path(folder), staging, source=DEMO_ACTOR)
    apps = [
        await CreateApp(f"Sample app {number}", f"token_{number}", by=DEMO_ACTOR).run(database)
        for number in DEMO_APP_NUMBERS
    ]
    await PutStories(tuple(demo_stories()), by=DEMO_ACTOR).run(database)
    polled_app = CreateApp(
        demo_traffic.DEMO_APP_NAME,
        demo_traffic.DEMO_TOKEN,
        (demo_traffic.DEMO_HOST,),
        by=DEMO_ACTOR,
    )
    apps.append(await polled_app.run(database))
    return apps


async def create_demo_user(database: Database) -> str | None:
    """Create a user if there is none; return its password, which is not stored, else None."""
    if await has_users(database):
        return None
    password = generate_password()
    await CreateUser(DEMO_USER, hash_password(password), by=DEMO_ACTOR).run(database)
    return password


def write_campaign_folder(folder: Path) -> None:
    """Write the campaign folder of the demo."""
    for name, content in demo_campaign_files(DEMO_SEED).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
