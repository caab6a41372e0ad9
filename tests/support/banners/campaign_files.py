"""Files of small campaigns, and the content of a data folder after their import."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

from imports.import_report import FileImportReport, ImportReport
from imports.importer import import_folder
from store.sqlite.core.database import Database
from store.sqlite.imports.import_staging import ImportStaging

T = TypeVar("T")

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 20
GIF = b"GIF89a" + b"\0" * 20

SMALL_CAMPAIGN: Mapping[str, str | bytes] = {
    "1/impressions_1.csv": "banner_id,campaign_id\n1,10\n2,10\n1,10\n3,11\n",
    "1/clicks_1.csv": "click_id,banner_id,campaign_id\n100,1,10\n101,2,10\n102,1,10\n",
    "1/conversions_1.csv": "conversion_id,click_id,revenue\n500,100,1.5\n501,102,0.25\n",
    "2/impressions_2.csv": "banner_id,campaign_id\n4,10\n",
    "2/clicks_2.csv": "click_id,banner_id,campaign_id\n200,4,10\n",
    "2/conversions_2.csv": "conversion_id,click_id,revenue\n600,200,2\n",
    "targets.csv": "banner_id,url\n1,https://example.com/one\n2,http://example.com/two\n",
    "images/image_1.png": PNG,
    "images/image_2.png": JPEG,
}


def write_files(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files to their paths in `folder`, and return the folder."""
    for name, body in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body if isinstance(body, bytes) else body.encode())
    return folder


def with_database(data: Path, use: Callable[[Database], Awaitable[T]]) -> T:
    """Open the database of a data folder and return the result of `use`."""

    async def run() -> T:
        database = await Database.open(data / "marquee.db")
        try:
            return await use(database)
        finally:
            await database.close()

    return asyncio.run(run())


def import_in_process(data: Path, folder: Path) -> ImportReport:
    """Import `folder` into a data folder that no process has open."""

    async def use(database: Database) -> ImportReport:
        return await import_folder(folder, ImportStaging(database, data / "images"))

    return with_database(data, use)


def reports_by_name(result: ImportReport) -> dict[str, FileImportReport]:
    return {report.name: report for report in result.files}


def row_counts(report: FileImportReport | ImportReport) -> tuple[int, int, int, int]:
    return report.read, report.stored, report.duplicate, report.rejected


def query_rows(data: Path, sql: str) -> list[tuple[object, ...]]:
    """Query the database of a data folder."""
    connection = sqlite3.connect(data / "marquee.db")
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


TABLES = ("figure", "click", "conversion", "target", "image", "reject", "file")


def data_content(data: Path) -> dict[str, list[tuple[object, ...]]]:
    """Return all rows that imports stored, and the names of the image files."""
    found = {table: query_rows(data, f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in TABLES}
    found["import"] = query_rows(
        data, "SELECT id, source, published_at IS NULL FROM import WHERE id > 0"
    )
    images = data / "images"
    names = sorted(path.name for path in images.iterdir()) if images.is_dir() else []
    found["files"] = [(name,) for name in names]
    return found
