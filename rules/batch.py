"""Many events in one request: each right or wrong by itself."""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from rules.event import Row, WrongEvent, read
from rules.faults import Fault
from rules.rulebook import Rules
from rules.strict import objection

# No event is shorter than so many bytes; what holds more such items than this is no batch.
SHORT, MANY_SHORT = 64, 1_000
NO_BATCH = Fault("", f"holds more than {MANY_SHORT} items that are too short to be events")
CONFLICT = Fault("/sender_id", "another event came with this sender_id")
UNFIT = Fault("", "this event cannot be stored")

REFUSED = '{"status":"refused"}'
ACCEPTED = ('{"status":"accepted","id":"', '"}')  # around the id

Outcome = tuple[int, str]  # the id, and what became of the row

_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


def items(body: bytes) -> list[bytes]:
    """The items of a JSON array, each as it came; raises `NotJson`."""
    try:
        return [bytes(item) for item in _items(body)[: _enough(body)]]
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise objection(body, error) from None


def lines(body: bytes) -> list[bytes]:
    """The items of NDJSON; empty lines are none."""
    return [line for line in body.split(b"\n") if line and not line.isspace()][: _enough(body)]


def _enough(body: bytes) -> int:
    """So many items that, if there are more, too many of these are short for a batch."""
    return len(body) // SHORT + MANY_SHORT + 1


def short(some: Iterable[bytes]) -> int:
    """How many of the items are too short to be events."""
    return sum(len(item) < SHORT for item in some)


def told(faults: Sequence[Fault]) -> str:
    """The faults as JSON."""
    return msgspec.json.encode(faults).decode()


class Batch:
    """Items on their way to the log, in the order in which they came."""

    __slots__ = ("_errors", "bodies", "rejects", "rows", "size")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.bodies: list[bytes] = []  # of the rows
        self.rejects: list[tuple[int, bytes, str]] = []  # app, body, errors as JSON
        self.size = 0
        self._errors: list[str | None] = []  # of every item

    def take(self, some: Iterable[bytes], now: int, rules: Rules) -> None:
        """Add items that an app sent at `now` (µs)."""
        rows, bodies, errors = self.rows, self.bodies, self._errors
        size = 0
        for item in some:
            try:
                rows.append(read(item, now, rules))
            except WrongEvent as wrong:
                self.reject(rules.app, item, wrong.faults)
            else:
                size += len(item)
                bodies.append(item)
                errors.append(None)
        self.size += size

    def reject(self, app: int, item: bytes, faults: Sequence[Fault]) -> None:
        """Add an item that is wrong."""
        errors = told(faults)
        self.size += len(item)
        self.rejects.append((app, item, errors))
        self._errors.append(errors)

    def results(self, outcomes: Sequence[Outcome]) -> str:
        """What became of each item, as JSON with commas between; `outcomes` are the rows'."""
        stored = [str(number) for number, verdict in outcomes if verdict == "stored"]
        if stored and len(stored) == len(self._errors):
            return ACCEPTED[0] + f"{ACCEPTED[1]},{ACCEPTED[0]}".join(stored) + ACCEPTED[1]
        left = iter(outcomes)
        return ",".join([_result(errors, left) for errors in self._errors])

    def refused(self) -> str:
        """The same, of a batch that could not be stored."""
        return ",".join([REFUSED] * len(self._errors))


def _result(errors: str | None, outcomes: Iterator[Outcome]) -> str:
    if errors is None:
        number, verdict = next(outcomes)
        if verdict == "stored":
            return f"{number}".join(ACCEPTED)
        if verdict == "duplicate":
            return f'{{"status":"duplicate","id":"{number}"}}'
        errors = told([CONFLICT if verdict == "conflict" else UNFIT])
    return f'{{"status":"rejected","errors":{errors}}}'
