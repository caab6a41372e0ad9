"""Many events in one request: each right or wrong by itself."""

from array import array
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from domain.common.strict_json import decode_error
from domain.common.validation_errors import FieldError
from domain.events.event import EventRow, InvalidEvent, parse_event
from domain.events.schema_registry import AppSchemas

# No event is shorter than so many bytes; what holds more such items than this is no batch.
MIN_EVENT_BYTES, MAX_SHORT_ITEMS = 64, 1_000
TOO_MANY_SHORT_ITEMS = FieldError(
    "", f"holds more than {MAX_SHORT_ITEMS} items that are too short to be events"
)
SENDER_ID_CONFLICT = FieldError("/sender_id", "another event came with this sender_id")
EVENT_NOT_STORABLE = FieldError("", "this event cannot be stored")

REFUSED_JSON = '{"status":"refused"}'
ACCEPTED_JSON_PARTS = ('{"status":"accepted","id":"', '"}')  # around the id

RowOutcome = tuple[int, str]  # the id, and what became of the row

_decode_array = msgspec.json.Decoder(list[msgspec.Raw]).decode


def split_json_array(body: bytes) -> list[bytes]:
    """The items of a JSON array, each as it came; raises `NotJson`."""
    try:
        return [bytes(item) for item in _decode_array(body)[: _max_items(body)]]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise decode_error(body, error) from None


def split_ndjson(body: bytes) -> list[bytes]:
    """The items of NDJSON; empty lines are none."""
    return [line for line in body.split(b"\n") if line and not line.isspace()][: _max_items(body)]


def _max_items(body: bytes) -> int:
    """So many items that, if there are more, too many of these are short for a batch."""
    return len(body) // MIN_EVENT_BYTES + MAX_SHORT_ITEMS + 1


def count_short_items(some: Iterable[bytes]) -> int:
    """How many of the items are too short to be events."""
    return sum(len(item) < MIN_EVENT_BYTES for item in some)


def encode_errors(faults: Sequence[FieldError]) -> str:
    """The faults as JSON."""
    return msgspec.json.encode(faults).decode()


class EventBatch:
    """Items on their way to the log, in the order in which they came."""

    __slots__ = ("bodies", "errors", "rejects", "rows", "size")

    def __init__(self) -> None:
        self.rows: list[EventRow] = []
        self.bodies: list[bytes] = []  # of the rows
        self.rejects: list[tuple[int, bytes, str]] = []  # app, body, errors as JSON
        self.size = 0
        self.errors: list[str | None] = []  # of every item

    def take(self, some: Iterable[bytes], now: int, rules: AppSchemas) -> None:
        """Add items that an app sent at `now` (µs)."""
        rows, bodies, errors = self.rows, self.bodies, self.errors
        size = 0
        for item in some:
            try:
                rows.append(parse_event(item, now, rules))
            except InvalidEvent as wrong:
                self.reject(rules.app, item, wrong.faults)
            else:
                size += 2 * len(item)  # as it came, and its data
                bodies.append(item)
                errors.append(None)
        self.size += size

    def reject(self, app: int, item: bytes, faults: Sequence[FieldError]) -> None:
        """Add an item that is wrong."""
        errors = encode_errors(faults)
        self.size += len(item) + len(errors)
        self.rejects.append((app, item, errors))
        self.errors.append(errors)

    def part(self) -> None:
        """Leave the items to whom they were given; what will be told of them stays."""
        self.rows, self.bodies, self.rejects = [], [], []

    def results(self, outcomes: Sequence[RowOutcome]) -> str:
        """What became of each item, as JSON with commas between; `outcomes` are the rows'."""
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
        """The same, of a batch that could not be stored."""
        return ",".join([REFUSED_JSON] * len(self.errors))


# Marks that are no ids, what a text takes besides its characters, and items of a part.
_REJECTED_MARK, _REFUSED_MARK = 0, -(2**63)
_STRING_OVERHEAD_BYTES, _ITEMS_PER_CHUNK = 64, 500


class BatchResults:
    """What became of the items of many batches: eight bytes for each, and what was wrong.

    As JSON, those of a long stream would be several times as large.
    """

    def __init__(self) -> None:
        self.size = 0  # bytes that this holds
        # The id of an accepted item; of a duplicate, below zero. Or one of those above.
        self._marks = array("q")
        self._errors: list[str] = []  # of the rejected ones

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, batch: EventBatch, outcomes: Iterable[RowOutcome]) -> None:
        """Add the items of a batch; `outcomes` are its rows'."""
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
        """Add so many that were not stored."""
        self._marks.extend([_REFUSED_MARK] * count)
        self.size += 8 * count

    def parts(self) -> Iterator[str]:
        """All of them as JSON with commas between, some at a time."""
        errors = iter(self._errors)
        for start in range(0, len(self._marks), _ITEMS_PER_CHUNK):
            some = [
                _mark_json(mark, errors) for mark in self._marks[start : start + _ITEMS_PER_CHUNK]
            ]
            yield ("," if start else "") + ",".join(some)


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
