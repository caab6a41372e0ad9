"""Batches of events in one request; each event is accepted or rejected by itself."""

from array import array
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from domain.common.strict_json import decode_error
from domain.common.validation_errors import FieldError
from domain.events.event import EventRow, InvalidEvent, parse_event
from domain.events.schema_registry import AppSchemas

# Minimum size of a valid event, and maximum number of shorter items in a batch.
MIN_EVENT_BYTES, MAX_SHORT_ITEMS = 64, 1_000
TOO_MANY_SHORT_ITEMS = FieldError(
    "", f"holds more than {MAX_SHORT_ITEMS} items that are too short to be events"
)
SENDER_ID_CONFLICT = FieldError("/sender_id", "another event came with this sender_id")
EVENT_NOT_STORABLE = FieldError("", "this event cannot be stored")

REFUSED_JSON = '{"status":"refused"}'
ACCEPTED_JSON_PARTS = ('{"status":"accepted","id":"', '"}')  # around the id

RowOutcome = tuple[int, str]  # id; "stored", "duplicate", "conflict" or "rejected"

_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def split_json_array(body: bytes) -> list[bytes]:
    """Return the raw items of a JSON array; raise `InvalidJson`."""
    try:
        return [bytes(item) for item in _decode_array(body)[: _max_items(body)]]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise decode_error(body, error) from None


def split_ndjson(body: bytes) -> list[bytes]:
    """Return the non-blank lines of NDJSON."""
    return [line for line in body.split(b"\n") if line and not line.isspace()][: _max_items(body)]


def _max_items(body: bytes) -> int:
    """Return a number of items beyond which a body has too many short ones."""
    return len(body) // MIN_EVENT_BYTES + MAX_SHORT_ITEMS + 1


def count_short_items(items: Iterable[bytes]) -> int:
    """Count the items that are too short to be events."""
    return sum(len(item) < MIN_EVENT_BYTES for item in items)


def encode_errors(faults: Sequence[FieldError]) -> str:
    """Encode validation errors as JSON."""
    return msgspec.json.encode(faults).decode()


class EventBatch:
    """Items of requests to be appended to the log, in the order received."""

    __slots__ = ("bodies", "errors", "rejects", "rows", "size")

    def __init__(self) -> None:
        self.rows: list[EventRow] = []
        self.bodies: list[bytes] = []  # one per row
        self.rejects: list[tuple[int, bytes, str]] = []  # app, body, errors as JSON
        self.size = 0
        self.errors: list[str | None] = []  # one per item; None if valid

    def take(self, items: Iterable[bytes], now: int, schemas: AppSchemas) -> None:
        """Add the items of an app, received at `now` (µs)."""
        rows, bodies, errors = self.rows, self.bodies, self.errors
        size = 0
        for item in items:
            try:
                rows.append(parse_event(item, now, schemas))
            except InvalidEvent as error:
                self.reject(schemas.app, item, error.faults)
            else:
                size += 2 * len(item)  # the body and its data
                bodies.append(item)
                errors.append(None)
        self.size += size

    def reject(self, app: int, item: bytes, faults: Sequence[FieldError]) -> None:
        """Add a rejected item."""
        errors = encode_errors(faults)
        self.size += len(item) + len(errors)
        self.rejects.append((app, item, errors))
        self.errors.append(errors)

    def part(self) -> None:
        """Drop the references to rows and bodies, which the log now owns; keep the errors."""
        self.rows, self.bodies, self.rejects = [], [], []

    def results(self, outcomes: Sequence[RowOutcome]) -> str:
        """Return the result of each item as comma-separated JSON; `outcomes` has one per row."""
        stored = [str(number) for number, verdict in outcomes if verdict == "stored"]
        if stored and len(stored) == len(self.errors):
            return (
                ACCEPTED_JSON_PARTS[0]
                + f"{ACCEPTED_JSON_PARTS[1]},{ACCEPTED_JSON_PARTS[0]}".join(stored)
                + ACCEPTED_JSON_PARTS[1]
            )
        left = iter(outcomes)
        return ",".join([_item_json(errors, left) for errors in self.errors])

    def refused(self) -> str:
        """Return the results of a batch that could not be stored, as comma-separated JSON."""
        return ",".join([REFUSED_JSON] * len(self.errors))


# Marks outside the range of ids; bytes of a string besides its text; items per JSON chunk.
_REJECTED_MARK, _REFUSED_MARK = 0, -(2**63)
_STRING_OVERHEAD_BYTES, _ITEMS_PER_CHUNK = 64, 500


class BatchResults:
    """Results of the items of many batches: eight bytes per item, plus the validation errors.

    As JSON, the results of a long stream would take several times the memory.
    """

    def __init__(self) -> None:
        self.size = 0  # bytes in memory
        # Per item: the id if accepted, the negated id if a duplicate, or one of the marks above.
        self._marks = array("q")
        self._errors: list[str] = []  # one per rejected item

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, batch: EventBatch, outcomes: Iterable[RowOutcome]) -> None:
        """Add the items of a batch; `outcomes` has one per row."""
        left = iter(outcomes)
        for errors in batch.errors:
            if errors is None:
                number, verdict = next(left)
                if verdict in ("stored", "duplicate"):
                    self._marks.append(number if verdict == "stored" else -number)
                    continue
                errors = _not_stored_errors(verdict)
            self._marks.append(_REJECTED_MARK)
            self._errors.append(errors)
            self.size += len(errors) + _STRING_OVERHEAD_BYTES
        self.size += 8 * len(batch.errors)

    def refuse(self, count: int) -> None:
        """Add `count` items that were not stored."""
        self._marks.extend([_REFUSED_MARK] * count)
        self.size += 8 * count

    def parts(self) -> Iterator[str]:
        """Yield all results as comma-separated JSON, in chunks."""
        errors = iter(self._errors)
        for start in range(0, len(self._marks), _ITEMS_PER_CHUNK):
            chunk = [
                _mark_json(mark, errors) for mark in self._marks[start : start + _ITEMS_PER_CHUNK]
            ]
            yield ("," if start else "") + ",".join(chunk)


def _mark_json(mark: int, errors: Iterator[str]) -> str:
    if mark == _REJECTED_MARK:
        return _rejected_json(next(errors))
    if mark == _REFUSED_MARK:
        return REFUSED_JSON
    return _stored_json("accepted", mark) if mark > 0 else _stored_json("duplicate", -mark)


def _item_json(errors: str | None, outcomes: Iterator[RowOutcome]) -> str:
    if errors is None:
        number, verdict = next(outcomes)
        if verdict == "stored":
            return _stored_json("accepted", number)
        if verdict == "duplicate":
            return _stored_json("duplicate", number)
        errors = _not_stored_errors(verdict)
    return _rejected_json(errors)


def _stored_json(status: str, number: int) -> str:
    return f'{{"status":"{status}","id":"{number}"}}'


def _rejected_json(errors: str) -> str:
    return f'{{"status":"rejected","errors":{errors}}}'


def _not_stored_errors(verdict: str) -> str:
    return encode_errors([SENDER_ID_CONFLICT if verdict == "conflict" else EVENT_NOT_STORABLE])
