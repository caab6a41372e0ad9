"""Rotation: which of a campaign's candidates a page view shows."""

from collections.abc import Callable


def next_candidate_index(count: int, last: int | None, chance: Callable[[], float]) -> int:
    """The index to show of `count` (at least 1), with equal chance but never `last` again.

    `last` is the index this visitor was shown last (below `count`), or None; a single candidate
    is shown again. `chance` gives numbers from 0 to below 1, and is asked once.
    """
    # A float below 1 times a count rounds to below the count, so no index can be past the end.
    if last is None or count == 1:
        return int(chance() * count)
    index = int(chance() * (count - 1))
    return index if index < last else index + 1
