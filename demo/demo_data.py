"""Fills an empty installation with a sample, so that there is something to see at once."""

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
# Who did it, in the list of what was changed.
DEMO_ACTOR = "the sample"


async def is_empty(database: Database) -> bool:
    """Whether nothing has been put in yet: no app, no campaign."""
    return not await has_apps(database) and not await has_campaigns(database)


async def load_demo_data(database: Database, images: Path) -> list[NewApp]:
    """Put the sample in; its apps, whose secret tokens are to be told once."""
    with tempfile.TemporaryDirectory() as folder:
        write_campaign_folder(Path(folder))
        staging = ImportStaging(database, images)
        await import_folder(Path(folder), staging, source=DEMO_ACTOR)
    made = [
        await CreateApp(f"Sample app {number}", f"token_{number}", by=DEMO_ACTOR).run(database)
        for number in DEMO_APP_NUMBERS
    ]
    await PutStories(tuple(demo_stories()), by=DEMO_ACTOR).run(database)
    watched = CreateApp(
        demo_traffic.DEMO_APP_NAME,
        demo_traffic.DEMO_TOKEN,
        (demo_traffic.DEMO_HOST,),
        by=DEMO_ACTOR,
    )
    made.append(await watched.run(database))
    return made


async def create_demo_user(database: Database) -> str | None:
    """Make a user, if there is none; the password, which is to be told once."""
    if await has_users(database):
        return None
    password = generate_password()
    await CreateUser(DEMO_USER, hash_password(password), by=DEMO_ACTOR).run(database)
    return password


def write_campaign_folder(folder: Path) -> None:
    """Write the sample's campaign folder."""
    for name, content in demo_campaign_files(DEMO_SEED).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
