"""Calls of an `ImportSession` as messages, for a session in another process.

A call is encoded as the array of its arguments, selected by its class name, and answered with the
result of `run`. `ImportSession` documents the methods.
"""
# ruff: noqa: D101, D102

from typing import Any, Generic, TypeVar, get_type_hints

import msgspec

from store.api.import_session import (
    ConversionOutcome,
    ImportSession,
    ReplacedStats,
    RowRejection,
    StagedFile,
    StagingOutcome,
    StatsRow,
)

R = TypeVar("R")


class BeginImport(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    source: str


class ImportCall(msgspec.Struct, Generic[R], array_like=True, forbid_unknown_fields=True):
    async def run(self, session: ImportSession) -> R:
        raise NotImplementedError

    @classmethod
    def result_type(cls) -> Any:
        return get_type_hints(cls.run)["return"]


class FindImported(ImportCall[list[int | None]]):
    files: list[tuple[bytes, str]]

    async def run(self, session: ImportSession) -> list[int | None]:
        return await session.find_imported(self.files)


class Replace(ImportCall[ReplacedStats]):
    slots: list[int]
    campaigns: list[int]

    async def run(self, session: ImportSession) -> ReplacedStats:
        return await session.replace(self.slots, self.campaigns)


class Undo(ImportCall[str]):
    number: int

    async def run(self, session: ImportSession) -> str:
        return await session.undo(self.number)


class AddClicks(ImportCall[list[int]]):
    slot: int
    rows: list[tuple[int, int, int]]

    async def run(self, session: ImportSession) -> list[int]:
        return await session.add_clicks(self.slot, self.rows)


class AddConversions(ImportCall[list[ConversionOutcome]]):
    slot: int
    rows: list[tuple[int, int, int]]

    async def run(self, session: ImportSession) -> list[ConversionOutcome]:
        return await session.add_conversions(self.slot, self.rows)


class AddStats(ImportCall[None]):
    rows: list[StatsRow]

    async def run(self, session: ImportSession) -> None:
        await session.add_stats(self.rows)


class AddTargets(ImportCall[list[StagingOutcome]]):
    rows: list[tuple[int, str]]

    async def run(self, session: ImportSession) -> list[StagingOutcome]:
        return await session.add_targets(self.rows)


class AddImage(ImportCall[StagingOutcome]):
    banner: int
    body: bytes

    async def run(self, session: ImportSession) -> StagingOutcome:
        return await session.add_image(self.banner, self.body)


class AddRejections(ImportCall[None]):
    rows: list[RowRejection]

    async def run(self, session: ImportSession) -> None:
        await session.add_rejections(self.rows)


class AddFile(ImportCall[None]):
    file: StagedFile

    async def run(self, session: ImportSession) -> None:
        await session.add_file(self.file)


class Publish(ImportCall[None]):
    async def run(self, session: ImportSession) -> None:
        await session.publish()


class Abort(ImportCall[None]):
    async def run(self, session: ImportSession) -> None:
        await session.abort()


IMPORT_CALLS: dict[str, type[ImportCall[Any]]] = {
    call.__name__: call
    for call in (
        *(FindImported, Replace, Undo, AddClicks, AddConversions, AddStats, AddTargets),
        *(AddImage, AddRejections, AddFile, Publish, Abort),
    )
}
