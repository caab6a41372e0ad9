"""Event ids: 64 bits, `milliseconds << 22 | node << 12 | sequence`, strictly increasing."""

from collections.abc import Sequence

SEQUENCE_BITS, NODE_BITS = 12, 10
TIMESTAMP_SHIFT = SEQUENCE_BITS + NODE_BITS
NODE_COUNT = 1 << NODE_BITS
IDS_PER_MILLISECOND = 1 << SEQUENCE_BITS
# Ids do not follow a clock past September 2038, so that a wrong clock cannot exhaust them.
MAX_TIMESTAMP_MS = (1 << 41) - (1 << 35)


class SnowflakeIds:
    """Generates the ids of one node."""

    def __init__(self, last: int, node: int = 0) -> None:
        """Every id is higher than `last`, whatever the clock says."""
        if not 0 <= node < NODE_COUNT:
            raise ValueError(f"invalid node {node}: must be 0–{NODE_COUNT - 1}")
        self._node = node << SEQUENCE_BITS
        self.last = last

    def generate(self, count: int, milliseconds: int) -> Sequence[int]:
        """Return the next `count` ids; `milliseconds` is the Unix time.

        If the millisecond has no ids left, or the clock is behind, the ids follow the last one.
        """
        if not count:
            return ()
        first = milliseconds << TIMESTAMP_SHIFT | self._node
        if first <= self.last or milliseconds > MAX_TIMESTAMP_MS:
            first = self._after(self.last)
        if (first & IDS_PER_MILLISECOND - 1) + count <= IDS_PER_MILLISECOND:
            self.last = first + count - 1
            return range(first, first + count)
        ids = [first]
        while len(ids) < count:
            ids.append(self._after(ids[-1]))
        self.last = ids[-1]
        return ids

    def generate_one(self, milliseconds: int) -> int:
        """Return the next id; `milliseconds` is the Unix time."""
        first = milliseconds << TIMESTAMP_SHIFT | self._node
        if first <= self.last or milliseconds > MAX_TIMESTAMP_MS:
            first = self._after(self.last)
        self.last = first
        return first

    def _after(self, last: int) -> int:
        following = last + 1
        if last >> SEQUENCE_BITS == following >> SEQUENCE_BITS and (
            following & NODE_COUNT - 1 << SEQUENCE_BITS == self._node
        ):
            return following
        later = (last >> TIMESTAMP_SHIFT) << TIMESTAMP_SHIFT | self._node
        return later if later > last else later + (1 << TIMESTAMP_SHIFT)
