"""A dry run tells what a rule would have rejected."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from domain.events.event_schema import CompiledEventSchema
from domain.events.schema_dry_run import MAX_DRY_RUN_EXAMPLES, SchemaDryRun

TOO_MUCH = "10 is greater than the maximum of 9"
RULE = CompiledEventSchema({"required": ["n"], "properties": {"n": {"maximum": 9}}})


def event(number: int, data: object) -> tuple[str, msgspec.Raw]:
    return str(number), msgspec.Raw(msgspec.json.encode(data))


@given(st.lists(st.lists(st.integers(0, 20), max_size=30), max_size=5))
def test_all_are_counted_and_the_first_wrong_ones_shown_in_however_many_parts(parts):
    trial = SchemaDryRun()
    for part in parts:
        trial.judge(RULE, [event(number, {"n": number}) for number in part])
    numbers = [number for part in parts for number in part]
    wrong = [number for number in numbers if number > 9]
    assert (trial.looked_at, trial.rejected) == (len(numbers), len(wrong))
    assert [each.id for each in trial.examples] == [
        str(number) for number in wrong[:MAX_DRY_RUN_EXAMPLES]
    ]


def test_an_example_has_its_data_and_what_is_wrong_where():
    trial = SchemaDryRun()
    trial.judge(RULE, [event(1, {"n": 10}), event(2, {"é": 1})])
    assert msgspec.json.decode(msgspec.json.encode(trial)) == {
        "looked_at": 2,
        "rejected": 2,
        "examples": [
            {
                "id": "1",
                "data": {"n": 10},
                "errors": [{"pointer": "/data/n", "message": TOO_MUCH}],
            },
            {
                "id": "2",
                "data": {"é": 1},
                "errors": [{"pointer": "/data/n", "message": "is missing"}],
            },
        ],
    }
