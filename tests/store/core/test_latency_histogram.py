"""Quantiles of waits."""

import pytest

from store.sqlite.core.latency_histogram import BUCKET_GROWTH, LatencyHistogram


def test_a_quantile_is_within_a_class_of_the_truth() -> None:
    waits = LatencyHistogram()
    for number in range(1, 1_001):
        waits.add(number / 10_000)
    assert waits.take(0.99) == pytest.approx(0.099, rel=BUCKET_GROWTH - 1)


def test_it_begins_anew_and_says_nothing_of_nothing() -> None:
    waits = LatencyHistogram()
    assert waits.take(0.99) is None
    waits.add(0.0)
    waits.add(1e9)
    assert (waits.take(0.5) or 0) <= 0.0002
    assert waits.take(0.5) is None


def test_what_comes_together_counts_as_so_many() -> None:
    waits = LatencyHistogram()
    waits.add(0.001, 1_000)
    waits.add(1.0, 1)
    assert (waits.take(0.99) or 1) < 0.002
