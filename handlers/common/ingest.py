"""Shared by the ingest routes: body types, batches in steps, responses."""

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
# ASCII is a subset of UTF-8.
SUPPORTED_CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii", "")
NDJSON_TYPES = (NDJSON, "application/ndjson", "application/jsonl")
# Items validated before other tasks run; a few milliseconds if all are invalid.
ITEMS_PER_STEP = 100

JSON_CONTENT_TYPE = ("Content-Type", JSON)
RETRY_AFTER = ("Retry-After", "1")
# A 503 is delayed by its own Retry-After, so that clients that ignore it cannot retry at once.
OVERLOAD_DELAY_SECONDS = 1.0
OVERLOADED = DelayedResponse(
    problem_response(503, "The event log is overloaded; send the request again.", RETRY_AFTER),
    OVERLOAD_DELAY_SECONDS,
)
ACCEPTED = Response(
    202, [JSON_CONTENT_TYPE, NO_STORE, *SECURITY_HEADERS], b'{"id":"0000000000000000000"}'
)

# End of the response to a batch, after the results.
BATCH_RESPONSE_END = b"]}"

# Items of a batch, and the outcomes of its rows once they are on disk.
PendingBatch = tuple[EventBatch, asyncio.Future[list[AppendOutcome]]]
# Returns microseconds since 1970.
MicrosClock = Callable[[], int]


def now_micros() -> int:
    """Return the current time in microseconds since 1970."""
    return time_ns() // 1000


@lru_cache(1_024)
def body_type(content_type: str | None) -> str | None:
    """Return JSON or NDJSON for a `Content-Type`, None if it is not supported.

    A type that ends with `+json` is JSON (RFC 6839, section 3.1).
    """
    if content_type is None:
        return JSON
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    for each in parameters:
        name, _, value = each.partition("=")
        if name.strip() == "charset" and value.strip(' \t"') not in SUPPORTED_CHARSETS:
            return None
    if media_type in NDJSON_TYPES:
        return NDJSON
    return JSON if media_type == JSON or JSON_SUFFIX.fullmatch(media_type) else None


def append_batch(
    log: EventLog, items: Sequence[bytes], received_at: int, schemas: AppSchemas
) -> PendingBatch:
    """Validate and append the items of a batch; `received_at` is in µs."""
    batch = EventBatch()
    batch.take(items, received_at, schemas)
    stored = log.append(
        batch.rows, batch.rejects, received=received_at, size=batch.size, bodies=batch.bodies
    )
    batch.part()
    return batch, stored


async def await_batch_response(steps: Sequence[PendingBatch]) -> Response:
    """Return the response to all steps of a batch, once they are on disk."""
    results, failure = [], None
    for batch, stored in steps:
        try:
            results.append(batch.results(await stored))
        except StoreError as error:
            failure = error
            results.append(batch.refused())
    return batch_response(results, failure)


def map_store_error(error: BaseException) -> RequestRefusal | None:
    """Return the refusal for an error of a fast route: 503 while the store is unavailable."""
    if isinstance(error, StoreError) and not isinstance(error, StoreRefused):
        return RequestRefusal(503, f"The store is not available now ({error}); try again.")
    return error if isinstance(error, RequestRefusal) else None


def batch_response(results: Sequence[str], failure: StoreError | None = None) -> Response:
    """Return the response to a batch from the JSON results of its items.

    A `failure` makes it 503: items with status `refused` were not stored.
    """
    text = ",".join(filter(None, results))
    if failure is None:
        return ACCEPTED.with_body(f'{{"results":[{text}'.encode() + BATCH_RESPONSE_END)
    body = problem_body(503, f"Not all items were stored ({failure}); send the refused ones again.")
    body = body[:-1] + f',"results":[{text}'.encode() + BATCH_RESPONSE_END
    return Response(503, [PROBLEM_CONTENT_TYPE, NO_STORE, *SECURITY_HEADERS, RETRY_AFTER], body)
