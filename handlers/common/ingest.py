"""What taking events on a lane and as a stream have in common: kinds of bodies, steps, answers."""

import asyncio
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from time import time_ns

from domain.events.event_batch import EventBatch
from domain.events.schema_registry import AppSchemas
from handlers.common.responses import (
    NO_STORE,
    PROBLEM_CONTENT_TYPE,
    SECURITY_HEADERS,
    problem_body,
    problem_response,
)
from httpserver import DelayedResponse, RequestRefusal, Response
from store.api.errors import StoreError, StoreRefused
from store.sqlite.events.commit_batch import AppendOutcome
from store.sqlite.events.event_log import EventLog

JSON, NDJSON = "application/json", "application/x-ndjson"
JSON_SUFFIX = re.compile(r"application/[!#$&^_.+0-9a-z-]+\+json")
# ASCII is a part of UTF-8.
SUPPORTED_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii", "")
NDJSON_TYPES = (NDJSON, "application/ndjson", "application/jsonl")
# So many items are judged before others have their turn: some milliseconds, if all are wrong.
ITEMS_PER_STEP = 100

JSON_CONTENT_TYPE = ("Content-Type", JSON)
RETRY_AFTER = ("Retry-After", "1")
# Seconds for which the refusal of what is too much is held back: as long as it asks for itself.
OVERLOAD_DELAY_SECONDS = 1.0
OVERLOADED = DelayedResponse(
    problem_response(
        503, "More events are waiting than can be held; send this again.", RETRY_AFTER
    ),
    OVERLOAD_DELAY_SECONDS,
)
ACCEPTED = Response(
    202, [JSON_CONTENT_TYPE, NO_STORE, *SECURITY_HEADERS], b'{"id":"0000000000000000000"}'
)

# What ends the answer to a batch, behind the results.
BATCH_RESPONSE_END = b"]}"

# Items of a batch, and what will become of its rows.
PendingBatch = tuple[EventBatch, asyncio.Future[list[AppendOutcome]]]
# Tells the microseconds since 1970.
MicrosClock = Callable[[], int]


def now_micros() -> int:
    """This moment, in microseconds since 1970."""
    return time_ns() // 1000


@lru_cache(1_024)
def body_type(said: str | None) -> str | None:
    """Return the kind of a body by its `Content-Type`; None if it is not supported.

    A type that ends with `+json` is JSON (RFC 6839, section 3.1).
    """
    if said is None:
        return JSON
    kind, *parameters = (part.strip().lower() for part in said.split(";"))
    for each in parameters:
        name, _, value = each.partition("=")
        if name.strip() == "charset" and value.strip(' \t"') not in SUPPORTED_CHARSETS:
            return None
    if kind in NDJSON_TYPES:
        return NDJSON
    return JSON if kind == JSON or JSON_SUFFIX.fullmatch(kind) else None


def append_batch(log: EventLog, some: Sequence[bytes], at: int, rules: AppSchemas) -> PendingBatch:
    """Append some items of a batch, which came at `at` (µs)."""
    batch = EventBatch()
    batch.take(some, at, rules)
    stored = log.append(
        batch.rows, batch.rejects, received=at, size=batch.size, bodies=batch.bodies
    )
    batch.part()
    return batch, stored


async def await_batch_response(steps: Sequence[PendingBatch]) -> Response:
    """The answer for all steps of a batch, once they are on disk."""
    results, failure = [], None
    for batch, stored in steps:
        try:
            results.append(batch.results(await stored))
        except StoreError as error:
            failure = error
            results.append(batch.refused())
    return batch_response(results, failure)


def map_store_error(error: BaseException) -> RequestRefusal | None:
    """Return the refusal for an error of a fast route: 503 while the store cannot answer."""
    if isinstance(error, StoreError) and not isinstance(error, StoreRefused):
        return RequestRefusal(503, f"This cannot be answered now ({error}); try again.")
    return error if isinstance(error, RequestRefusal) else None


def batch_response(results: Sequence[str], failure: StoreError | None = None) -> Response:
    """The answer to a batch, from what became of its items and what went wrong."""
    text = ",".join(filter(None, results))
    if failure is None:
        return ACCEPTED.with_body(f'{{"results":[{text}'.encode() + BATCH_RESPONSE_END)
    body = problem_body(503, f"Not all was stored ({failure}); send again what was refused.")
    body = body[:-1] + f',"results":[{text}'.encode() + BATCH_RESPONSE_END
    return Response(503, [PROBLEM_CONTENT_TYPE, NO_STORE, *SECURITY_HEADERS, RETRY_AFTER], body)
