"""Staged targets and images of banners."""

import sqlite3

from store.api.import_session import StagingOutcome

PUBLISHED_IMPORTS_SQL = "(SELECT id FROM import WHERE published_at IS NOT NULL)"
NEWEST_TARGET_SQL = f"""
SELECT url FROM target WHERE banner = ? AND import IN {PUBLISHED_IMPORTS_SQL}
ORDER BY import DESC LIMIT 1
"""  # noqa: S608
NEWEST_IMAGE_SQL = f"""
SELECT sha256 FROM image WHERE banner = ? AND import IN {PUBLISHED_IMPORTS_SQL}
ORDER BY import DESC LIMIT 1
"""  # noqa: S608


def stage_target(
    connection: sqlite3.Connection, number: int, banner: int, url: str
) -> StagingOutcome:
    """Stage a target for import `number`; "duplicate" if it is staged or the published one."""
    sql = "SELECT url FROM target WHERE banner = ? AND import = ?"
    staged = connection.execute(sql, (banner, number)).fetchone()
    if staged is not None:
        return "duplicate" if staged == (url,) else "conflict"
    newest = connection.execute(NEWEST_TARGET_SQL, (banner,)).fetchone()
    # Staged even if it is the published one, so that a different second one is a conflict.
    connection.execute("INSERT INTO target VALUES (?, ?, ?)", (banner, number, url))
    return "duplicate" if newest == (url,) else "stored"


def stage_image(
    connection: sqlite3.Connection, number: int, banner: int, sha256: bytes, image_type: str
) -> StagingOutcome:
    """Stage an image's row like a target; the caller writes its file."""
    sql = "SELECT sha256 FROM image WHERE banner = ? AND import = ?"
    staged = connection.execute(sql, (banner, number)).fetchone()
    if staged is not None:
        return "duplicate" if staged == (sha256,) else "conflict"
    newest = connection.execute(NEWEST_IMAGE_SQL, (banner,)).fetchone()
    connection.execute(
        "INSERT INTO image VALUES (?, ?, ?, ?)", (banner, number, sha256, image_type)
    )
    return "duplicate" if newest == (sha256,) else "stored"
