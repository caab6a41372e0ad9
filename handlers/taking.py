"""What taking events on a lane and as a stream have in common: kinds of bodies, steps, answers."""

import asyncio
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from time import time_ns

from handlers.answers import NO_STORE, PROBLEM, SECURITY, problem, problem_body
from rules.batch import Batch
from rules.rulebook import Rules
from store.batch import Outcome
from store.errors import StoreError, StoreRefused
from store.log import Log
from wire import Refusal, Response, Unhurried

JSON, LINES = "application/json", "application/x-ndjson"
JSON_SUFFIX = re.compile(r"application/[!#$&^_.+0-9a-z-]+\+json")
# ASCII is a part of UTF-8.
CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii", "")
LINE_TYPES = (LINES, "application/ndjson", "application/jsonl")
# So many items are judged before others have their turn: some milliseconds, if all are wrong.
STEP = 100

TYPE = ("Content-Type", JSON)
LATER = ("Retry-After", "1")
# Seconds for which the refusal of what is too much is held back: as long as it asks for itself.
PAUSE = 1.0
FULL = Unhurried(
    problem(503, "More events are waiting than can be held; send this again.", LATER), PAUSE
)
ACCEPTED = Response(202, [TYPE, NO_STORE, *SECURITY], b'{"id":"0000000000000000000"}')

# What ends the answer to a batch, behind the results.
END = b"]}"

# Items of a batch, and what will become of its rows.
Step = tuple[Batch, asyncio.Future[list[Outcome]]]
# Tells the microseconds since 1970.
Clock = Callable[[], int]


def now() -> int:
    """This moment, in microseconds since 1970."""
    return time_ns() // 1000


@lru_cache(1_024)
def kind_of(said: str | None) -> str | None:
    """Return the kind of a body by its `Content-Type`; None if it is not supported.

    A type that ends with `+json` is JSON (RFC 6839, section 3.1).
    """
    if said is None:
        return JSON
    kind, *parameters = (part.strip().lower() for part in said.split(";"))
    for each in parameters:
        name, _, value = each.partition("=")
        if name.strip() == "charset" and value.strip(' \t"') not in CHARSETS:
            return None
    if kind in LINE_TYPES:
        return LINES
    return JSON if kind == JSON or JSON_SUFFIX.fullmatch(kind) else None


def append(log: Log, some: Sequence[bytes], at: int, rules: Rules) -> Step:
    """Append some items of a batch, which came at `at` (µs)."""
    batch = Batch()
    batch.take(some, at, rules)
    stored = log.append(
        batch.rows, batch.rejects, received=at, size=batch.size, bodies=batch.bodies
    )
    batch.part()
    return batch, stored


async def conclude(steps: Sequence[Step]) -> Response:
    """The answer for all steps of a batch, once they are on disk."""
    results, failure = [], None
    for batch, stored in steps:
        try:
            results.append(batch.results(await stored))
        except StoreError as error:
            failure = error
            results.append(batch.refused())
    return results_of(results, failure)


def unavailable(error: BaseException) -> Refusal | None:
    """Return the refusal for an error of a fast route: 503 while the store cannot answer."""
    if isinstance(error, StoreError) and not isinstance(error, StoreRefused):
        return Refusal(503, f"This cannot be answered now ({error}); try again.")
    return error if isinstance(error, Refusal) else None


def results_of(results: Sequence[str], failure: StoreError | None = None) -> Response:
    """The answer to a batch, from what became of its items and what went wrong."""
    text = ",".join(filter(None, results))
    if failure is None:
        return ACCEPTED.with_body(f'{{"results":[{text}'.encode() + END)
    body = problem_body(503, f"Not all was stored ({failure}); send again what was refused.")
    body = body[:-1] + f',"results":[{text}'.encode() + END
    return Response(503, [PROBLEM, NO_STORE, *SECURITY, LATER], body)
