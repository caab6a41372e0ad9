"""Fills an empty installation with a sample, so that there is something to see at once."""

import tempfile
from pathlib import Path

from rules import played
from rules.sample import sample, stories
from store.apps import CreateApp, NewApp, any_app
from store.campaigns import any_campaign
from store.database import Database
from store.importing import import_folder
from store.passwords import digest, make_up
from store.staging import Staging
from store.stories import PutStories
from store.users import CreateUser, any_user

APPS = (1, 2, 3)
SEED = 1
OWNER = "owner"
# Who did it, in the list of what was changed.
SAMPLE = "the sample"


async def pristine(database: Database) -> bool:
    """Whether nothing has been put in yet: no app, no campaign."""
    return not await any_app(database) and not await any_campaign(database)


async def fill(database: Database, images: Path) -> list[NewApp]:
    """Put the sample in; its apps, whose secret tokens are to be told once."""
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        staging = Staging(database, images)
        await import_folder(Path(folder), staging, source=SAMPLE)
    made = [
        await CreateApp(f"Sample app {number}", f"token_{number}", by=SAMPLE).run(database)
        for number in APPS
    ]
    await PutStories(tuple(stories()), by=SAMPLE).run(database)
    watched = CreateApp(played.NAME, played.TOKEN, (played.HOST,), by=SAMPLE)
    made.append(await watched.run(database))
    return made


async def make_owner(database: Database) -> str | None:
    """Make a user, if there is none; the password, which is to be told once."""
    if await any_user(database):
        return None
    password = make_up()
    await CreateUser(OWNER, digest(password), by=SAMPLE).run(database)
    return password


def write(folder: Path) -> None:
    """Write the sample's campaign folder."""
    for name, content in sample(SEED).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
