"""Rotation: choice of the candidate that a page view shows."""

from collections.abc import Callable


def next_candidate_index(count: int, last: int | None, random_float: Callable[[], float]) -> int:
    """Return a random index below `count` (at least 1) other than `last`, all equally likely.

    `last` is the index that this visitor saw last (below `count`), or None; a single candidate
    repeats. `random_float` returns a number in [0, 1) and is called once.
    """
    # A float below 1 times `count` rounds to a value below `count`, so the index is in range.
    if last is None or count == 1:
        return int(random_float() * count)
    index = int(random_float() * (count - 1))
    return index if index < last else index + 1
