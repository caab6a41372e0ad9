"""Writes many rows in small transactions, so that other writes do not wait long."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from store.sqlite.core.database import Database

T = TypeVar("T")
R = TypeVar("R")

# Target duration of a transaction: well below the guaranteed 20 ms, as disk latency varies.
TARGET_STEP_SECONDS = 0.005
MIN_STEP_ROWS, MAX_STEP_ROWS = 16, 2_000


class BatchedWriter:
    """Writes rows of one kind; adapts the rows per transaction to their measured duration."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._size = 250

    async def write(
        self, rows: Sequence[T], job: Callable[[sqlite3.Connection, Sequence[T]], R]
    ) -> list[R]:
        """Run `job` on the rows in several transactions; return the result of each."""
        results: list[R] = []
        done = 0
        while done < len(rows):
            part = rows[done : done + self._size]
            result, held = await self._database.timed_write(partial(_apply, job, part))
            results.append(result)
            done += len(part)
            if held > TARGET_STEP_SECONDS or len(part) == self._size:
                fitting = int(len(part) * min(2.0, TARGET_STEP_SECONDS / held))
                self._size = max(MIN_STEP_ROWS, min(MAX_STEP_ROWS, fitting))
        return results


def split_by_size(rows: Sequence[tuple[T, int]], size: int) -> Iterator[list[T]]:
    """Yield lists of rows, given with their sizes: up to `size` bytes, or a single larger row."""
    part: list[T] = []
    total = 0
    for row, count in rows:
        if part and total + count > size:
            yield part
            part, total = [], 0
        part.append(row)
        total += count
    if part:
        yield part


def _apply(
    job: Callable[[sqlite3.Connection, Sequence[T]], R],
    part: Sequence[T],
    connection: sqlite3.Connection,
) -> R:
    return job(connection, part)
