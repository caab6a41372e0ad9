"""Many events in one request: each right or wrong by itself."""

from array import array
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

    __slots__ = ("bodies", "errors", "rejects", "rows", "size")

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.bodies: list[bytes] = []  # of the rows
        self.rejects: list[tuple[int, bytes, str]] = []  # app, body, errors as JSON
        self.size = 0
        self.errors: list[str | None] = []  # of every item

    def take(self, some: Iterable[bytes], now: int, rules: Rules) -> None:
        """Add items that an app sent at `now` (µs)."""
        rows, bodies, errors = self.rows, self.bodies, self.errors
        size = 0
        for item in some:
            try:
                rows.append(read(item, now, rules))
            except WrongEvent as wrong:
                self.reject(rules.app, item, wrong.faults)
            else:
                size += 2 * len(item)  # as it came, and its data
                bodies.append(item)
                errors.append(None)
        self.size += size

    def reject(self, app: int, item: bytes, faults: Sequence[Fault]) -> None:
        """Add an item that is wrong."""
        errors = told(faults)
        self.size += len(item) + len(errors)
        self.rejects.append((app, item, errors))
        self.errors.append(errors)

    def part(self) -> None:
        """Leave the items to whom they were given; what will be told of them stays."""
        self.rows, self.bodies, self.rejects = [], [], []

    def results(self, outcomes: Sequence[Outcome]) -> str:
        """What became of each item, as JSON with commas between; `outcomes` are the rows'."""
        stored = [str(number) for number, verdict in outcomes if verdict == "stored"]
        if stored and len(stored) == len(self.errors):
            return ACCEPTED[0] + f"{ACCEPTED[1]},{ACCEPTED[0]}".join(stored) + ACCEPTED[1]
        left = iter(outcomes)
        return ",".join([_result(errors, left) for errors in self.errors])

    def refused(self) -> str:
        """The same, of a batch that could not be stored."""
        return ",".join([REFUSED] * len(self.errors))


# Marks that are no ids, what a text takes besides its characters, and items of a part.
_REJECTED, _REFUSED = 0, -(2**63)
_TEXT, _PART = 64, 500


class Results:
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

    def add(self, batch: Batch, outcomes: Iterable[Outcome]) -> None:
        """Add the items of a batch; `outcomes` are its rows'."""
        left = iter(outcomes)
        for errors in batch.errors:
            if errors is None:
                number, verdict = next(left)
                if verdict in ("stored", "duplicate"):
                    self._marks.append(number if verdict == "stored" else -number)
                    continue
                errors = _unstored(verdict)
            self._marks.append(_REJECTED)
            self._errors.append(errors)
            self.size += len(errors) + _TEXT
        self.size += 8 * len(batch.errors)

    def refuse(self, count: int) -> None:
        """Add so many that were not stored."""
        self._marks.extend([_REFUSED] * count)
        self.size += 8 * count

    def parts(self) -> Iterator[str]:
        """All of them as JSON with commas between, some at a time."""
        errors = iter(self._errors)
        for start in range(0, len(self._marks), _PART):
            some = [_told_by(mark, errors) for mark in self._marks[start : start + _PART]]
            yield ("," if start else "") + ",".join(some)


def _told_by(mark: int, errors: Iterator[str]) -> str:
    if mark == _REJECTED:
        return _rejected(next(errors))
    if mark == _REFUSED:
        return REFUSED
    return _kept("accepted", mark) if mark > 0 else _kept("duplicate", -mark)


def _result(errors: str | None, outcomes: Iterator[Outcome]) -> str:
    if errors is None:
        number, verdict = next(outcomes)
        if verdict == "stored":
            return _kept("accepted", number)
        if verdict == "duplicate":
            return _kept("duplicate", number)
        errors = _unstored(verdict)
    return _rejected(errors)


def _kept(status: str, number: int) -> str:
    return f'{{"status":"{status}","id":"{number}"}}'


def _rejected(errors: str) -> str:
    return f'{{"status":"rejected","errors":{errors}}}'


def _unstored(verdict: str) -> str:
    return told([CONFLICT if verdict == "conflict" else UNFIT])
