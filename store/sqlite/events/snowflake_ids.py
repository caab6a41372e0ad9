"""Ids for events: 64 bits, `milliseconds << 22 | node << 12 | sequence`, always rising."""

from collections.abc import Sequence

SEQUENCE_BITS, NODE_BITS = 12, 10
TIMESTAMP_SHIFT = SEQUENCE_BITS + NODE_BITS
NODE_COUNT = 1 << NODE_BITS
IDS_PER_MILLISECOND = 1 << SEQUENCE_BITS
# A clock that says later than September 2038 is not followed, so that ids never run out.
MAX_TIMESTAMP_MS = (1 << 41) - (1 << 35)


class SnowflakeIds:
    """Gives out ids of one node."""

    def __init__(self, last: int, node: int = 0) -> None:
        """Each id will be higher than `last`, whatever the clock says."""
        if not 0 <= node < NODE_COUNT:
            raise ValueError(f"a node is a number from 0 to {NODE_COUNT - 1}, not {node}")
        self._node = node << SEQUENCE_BITS
        self.last = last

    def take(self, count: int, milliseconds: int) -> Sequence[int]:
        """The next `count` ids, at a time in milliseconds since 1970.

        The ids of a full, or later, millisecond go on into the next one.
        """
        if not count:
            return ()
        first = milliseconds << TIMESTAMP_SHIFT | self._node
        if first <= self.last or milliseconds > MAX_TIMESTAMP_MS:
            first = self._after(self.last)
        if (first & IDS_PER_MILLISECOND - 1) + count <= IDS_PER_MILLISECOND:
            self.last = first + count - 1
            return range(first, first + count)
        taken = [first]
        while len(taken) < count:
            taken.append(self._after(taken[-1]))
        self.last = taken[-1]
        return taken

    def one(self, milliseconds: int) -> int:
        """The next id, at a time in milliseconds since 1970."""
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
