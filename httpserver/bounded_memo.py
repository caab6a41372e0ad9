"""A cache with a bounded size for results that are cheap to compute again."""

from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

MAX_ENTRIES = 8_192
MAX_KEY_BYTES = 512


class BoundedMemo(dict[Key, Value]):
    """A dictionary that is cleared when it is full.

    Clearing needs no bookkeeping on a hit, which an LRU cache does: `get` is that of `dict`.
    """

    __slots__ = ()

    def store(self, key: Key, value: Value, key_bytes: int) -> None:
        """Store `value` unless its key is longer than `MAX_KEY_BYTES`: clients choose the keys."""
        if key_bytes <= MAX_KEY_BYTES:
            if len(self) >= MAX_ENTRIES:
                self.clear()
            self[key] = value
