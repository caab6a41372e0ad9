"""Many events in one request."""

from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.common.strict_json import InvalidJson
from domain.events.event_batch import (
    MAX_SHORT_ITEMS,
    MIN_EVENT_BYTES,
    REFUSED_JSON,
    BatchResults,
    EventBatch,
    count_short_items,
    split_json_array,
    split_ndjson,
)
from domain.events.schema_registry import SchemaRegistry
from tests.support.cpu_time import scaled_20_ms

SIZE = 256 * 1024


@given(
    st.lists(st.sampled_from([b"1", b'"a,]"', b"[1,[2]]", b'{"a": [ ]}', b" null "]), max_size=9)
)
def test_an_array_is_taken_apart_into_its_items_as_they_came(sent: list[bytes]) -> None:
    found = split_json_array(b"[" + b",".join(sent) + b"]")
    assert [each.strip() for each in found] == [each.strip() for each in sent]


@pytest.mark.parametrize("body", [b"[", b"[1,]", b"[1 2]", b"[\xff]", b"[" * 9_999, b"[1]]"])
def test_what_is_no_array_has_no_items(body: bytes) -> None:
    with pytest.raises(InvalidJson):
        split_json_array(body)


def test_empty_lines_are_no_items() -> None:
    assert split_ndjson(b"\n1\r\n \n\r\n2\n\t") == [b"1\r", b"2"]


@given(st.integers(0, 3_000), st.integers(0, 60))
def test_too_many_short_items_are_seen_however_many_there_are(few: int, many: int) -> None:
    sent = [b"1"] * few + [b"2" * MIN_EVENT_BYTES] * 50 + [b"3"] * (many * 1_000)
    for found in (split_json_array(b"[" + b",".join(sent) + b"]"), split_ndjson(b"\n".join(sent))):
        if few + many * 1_000 <= MAX_SHORT_ITEMS:
            assert found == sent
        else:
            assert count_short_items(found) > MAX_SHORT_ITEMS


@pytest.mark.parametrize("item", [b"1", b"{}", b'""', b"[]", b"null"])
def test_no_batch_of_256_kib_is_looked_at_for_more_than_20_ms(item: bytes) -> None:
    count = SIZE // (len(item) + 1)

    def seconds() -> float:
        began = process_time()
        assert (
            count_short_items(split_json_array(b"[" + b",".join([item] * count) + b"]"))
            > MAX_SHORT_ITEMS
        )
        assert count_short_items(split_ndjson(b"\n".join([item] * count))) > MAX_SHORT_ITEMS
        return process_time() - began

    assert min(seconds() for _ in range(5)) / 2 < scaled_20_ms()


GOOD = b'{"session_id":"a","category":"b","name":"c","data":{},"timestamp":"2021-01-01 00:00:00"}'


def batch_of(some: list[bytes]) -> EventBatch:
    batch = EventBatch()
    batch.take(some, 1_700_000_000_000_000, SchemaRegistry({}).of(1, False))
    return batch


def test_each_item_has_its_result_in_its_place() -> None:
    batch = batch_of([GOOD, b"5", GOOD, GOOD])
    errors = '[{"pointer":"","message":"is not an object"}]'
    # An event is held as it came and as it will be stored, a wrong one with what is wrong.
    assert batch.size == 3 * 2 * len(GOOD) + len(b"5" + errors.encode())
    outcomes = [(7, "stored"), (3, "duplicate"), (4, "conflict")]
    assert batch.results(outcomes) == (
        '{"status":"accepted","id":"7"},'
        '{"status":"rejected","errors":[{"pointer":"","message":"is not an object"}]},'
        '{"status":"duplicate","id":"3"},'
        '{"status":"rejected","errors":[{"pointer":"/sender_id",'
        '"message":"another event came with this sender_id"}]}'
    )
    assert batch.refused().count("refused") == 4


@given(
    st.lists(
        st.lists(
            st.none() | st.sampled_from(["stored", "duplicate", "conflict", "rejected"]),
            max_size=9,
        ),
        max_size=9,
    ),
    st.integers(0, 1_200),
)
def test_the_results_of_many_batches_are_kept_small_and_told_like_those_of_each(
    sent: list[list[str | None]], refused: int
) -> None:
    results, expected = BatchResults(), []
    for place, verdicts in enumerate(sent):
        batch = batch_of([GOOD if verdict else b"5" for verdict in verdicts])
        outcomes = [(place * 10 + n + 1, each) for n, each in enumerate(verdicts) if each]
        expected.append(batch.results(outcomes))
        batch.part()
        assert (batch.rows, batch.rejects, batch.bodies) == ([], [], [])
        results.add(batch, outcomes)
    results.refuse(refused)
    expected += [REFUSED_JSON] * refused
    count = sum(map(len, sent)) + refused
    assert len(results) == count
    assert "".join(results.parts()) == ",".join(each for each in expected if each)
    wrong = sum(each not in ("stored", "duplicate") for verdicts in sent for each in verdicts)
    assert 8 * count <= results.size <= 8 * count + 200 * wrong
