"""Ids: always rising, whatever the clock does."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.sqlite.events.snowflake_ids import MAX_TIMESTAMP_MS, NODE_COUNT, SnowflakeIds

Times = st.one_of(st.integers(0, 2**50), st.integers(1_000, 1_010))
Counts = st.one_of(st.integers(0, 5), st.integers(4_090, 9_000))
Nodes = st.integers(0, NODE_COUNT - 1)


@given(st.lists(st.tuples(Counts, Times), max_size=20), Nodes, st.integers(0, 2**62))
def test_ids_rise_fit_64_bits_and_bear_their_node(
    takes: list[tuple[int, int]], node: int, last: int
) -> None:
    ids = SnowflakeIds(last, node)
    taken = [last]
    for count, milliseconds in takes:
        some = [ids.generate_one(milliseconds)] if count == 1 else ids.generate(count, milliseconds)
        assert len(some) == count
        taken += some
    assert all(before < after for before, after in pairwise(taken))
    assert taken[-1] < 2**63
    assert all(number >> 12 & NODE_COUNT - 1 == node for number in taken[1:])
    assert ids.last == taken[-1]


@given(st.integers(1, MAX_TIMESTAMP_MS), st.integers(1, 4_096), Nodes)
def test_an_id_tells_its_millisecond_when_the_clock_goes_forward(
    milliseconds: int, count: int, node: int
) -> None:
    ids = SnowflakeIds((milliseconds - 1) << 22, node)
    assert {number >> 22 for number in ids.generate(count, milliseconds)} == {milliseconds}


def test_a_full_millisecond_goes_on_into_the_next() -> None:
    ids = SnowflakeIds(0)
    some = ids.generate(4_097, 5)
    assert (some[-2] >> 22, some[-1] >> 22, some[-1]) == (5, 6, 6 << 22)
    assert ids.generate(1, 5)[0] == (6 << 22) + 1


def test_a_clock_set_back_is_waited_for() -> None:
    ids = SnowflakeIds(0)
    ids.generate(1, 1_000)
    assert ids.generate(1, 10)[0] == (1_000 << 22) + 1
    assert ids.generate(1, 1_001)[0] == 1_001 << 22


@pytest.mark.parametrize("node", [-1, NODE_COUNT])
def test_a_node_that_does_not_fit_is_told(node: int) -> None:
    with pytest.raises(ValueError, match="0–1023"):
        SnowflakeIds(0, node)
