import math
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.banners.rotation import next_candidate_index

ALMOST_ONE = math.nextafter(1.0, 0.0)


def chi_square_bound(freedom: int) -> float:
    """What chi-square passes once in about 100,000 fair trials (Wilson and Hilferty, 1931)."""
    spread = 2 / (9 * freedom)
    return freedom * (1 - spread + 4.27 * math.sqrt(spread)) ** 3


def uneven(counts: Iterable[int]) -> float:
    """Chi-square of counts of which all were expected to be the same."""
    counts = list(counts)
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)


def visits(count: int, views: int, seed: int) -> Iterator[int]:
    """What one visitor sees in as many page views."""
    chance = Random(seed).random
    last: int | None = None
    for _ in range(views):
        last = next_candidate_index(count, last, chance)
        yield last


@given(
    st.integers(1, 1000).flatmap(
        lambda count: st.tuples(st.just(count), st.none() | st.integers(0, count - 1))
    ),
    st.floats(0, 1, exclude_max=True),
)
def test_what_is_drawn_is_a_candidate_and_never_the_last_of_several(
    place: tuple[int, int | None], number: float
) -> None:
    count, last = place
    index = next_candidate_index(count, last, lambda: number)
    assert 0 <= index < count
    assert count == 1 or index != last


def test_the_highest_chance_is_not_past_the_end() -> None:
    for count in (*range(2, 1000), 2**20 - 1, 2**20, 2**20 + 1, 10**9):
        assert next_candidate_index(count, None, lambda: ALMOST_ONE) == count - 1
        assert next_candidate_index(count, 0, lambda: ALMOST_ONE) == count - 1
        assert next_candidate_index(count, count - 1, lambda: ALMOST_ONE) == count - 2


def test_the_only_candidate_is_shown_again_and_again() -> None:
    assert set(visits(1, 100, seed=1)) == {0}


def test_two_candidates_take_turns() -> None:
    shown = list(visits(2, 100, seed=1))
    assert all(one != other for one, other in pairwise(shown))


@given(st.integers(1, 60), st.data())
def test_each_candidate_has_the_same_share_of_chance(count: int, data: st.DataObject) -> None:
    last = data.draw(st.none() | st.integers(0, count - 1))
    others = count if last is None or count == 1 else count - 1
    # A chance in the middle of each share, and every share is as wide as any other.
    middles = iter([(share + 0.5) / others for share in range(others)])
    drawn = [next_candidate_index(count, last, middles.__next__) for _ in range(others)]
    assert drawn == [index for index in range(count) if index != last or count == 1]


def test_chance_is_asked_once_a_draw() -> None:
    asked = iter([0.1, 0.9])
    next_candidate_index(10, None, lambda: next(asked))
    next_candidate_index(10, 3, lambda: next(asked))
    with pytest.raises(StopIteration):
        next(asked)


@pytest.mark.parametrize("count", [2, 3, 5, 7, 10])
@pytest.mark.parametrize("last", [None, 0, 1])
def test_others_are_drawn_equally_often(count: int, last: int | None) -> None:
    chance = Random(f"{count} {last}").random
    drawn = Counter(next_candidate_index(count, last, chance) for _ in range(20_000))
    others = [index for index in range(count) if index != last]
    assert set(drawn) == set(others)
    if len(others) > 1:
        assert uneven(drawn[index] for index in others) < chi_square_bound(len(others) - 1)


@pytest.mark.parametrize("count", [3, 5, 10])
def test_over_many_visits_every_change_is_as_likely_as_any_other(count: int) -> None:
    shown = list(visits(count, 50_000, seed=count))
    changes = Counter(pairwise(shown))
    assert len(changes) == count * (count - 1)
    # Given what was last, what follows is a fair draw of its own, and chi-squares add up.
    total = sum(
        uneven(often for (one, _), often in changes.items() if one == last) for last in range(count)
    )
    assert total < chi_square_bound(count * (count - 2))
    # Who was just shown waits, so shares differ less than if each view were drawn of all.
    assert uneven(Counter(shown).values()) < chi_square_bound(count - 1)


@pytest.mark.parametrize("freedom", [1, 8, 89])
def test_the_bound_is_one_that_an_unfair_draw_fails(freedom: int) -> None:
    chance = Random(freedom)
    places = range(freedom + 1)
    fair = Counter(chance.choices(places, k=50_000))
    loaded = Counter(chance.choices(places, [10 + place % 2 for place in places], k=50_000))
    assert uneven(fair.values()) < chi_square_bound(freedom) < uneven(loaded.values())
