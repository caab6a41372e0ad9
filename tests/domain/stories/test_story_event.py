"""What a right event of a story is, and all that is told of a wrong one."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.common.timestamp import parse_timestamp
from domain.events.event import InvalidEvent
from domain.stories import story_event
from domain.stories.story_event import (
    StoryEvent,
    parse_story_event,
    story_event_row,
    user_pseudonym,
)

NOW = parse_timestamp("2021-01-01T12:00:00Z")
GOOD: dict[str, Any] = {"story_id": 1, "event_type": "impression", "user_id": "some-random-id"}


def body(**members: Any) -> bytes:
    return json.dumps({**GOOD, **members}).encode()


def faults(sent: bytes) -> list[tuple[str, str]]:
    with pytest.raises(InvalidEvent) as raised:
        parse_story_event(sent, NOW)
    return [(each.pointer, each.message) for each in raised.value.faults]


def test_an_event_is_of_now_unless_it_says_when() -> None:
    assert parse_story_event(body(), NOW) == StoryEvent(1, "impression", "some-random-id", NOW)
    at = parse_timestamp("2020-12-30T23:00:00Z")
    assert parse_story_event(body(timestamp="2020-12-30 23:00:00"), NOW).at == at
    assert parse_story_event(body(timestamp="2020-12-31T00:00:00+01:00"), NOW).at == at
    assert parse_story_event(body(timestamp=None), NOW).at == NOW
    assert parse_story_event(body(timestamp="2021-01-01T12:01:00Z"), NOW).at == NOW + 60_000_000


def test_a_user_is_optional() -> None:
    for sent in (b'{"story_id":2,"event_type":"close"}', body(user_id=None)):
        assert parse_story_event(sent, NOW).user is None


NO_USER = "must be a string of 1 to 200 characters or a whole number"


@pytest.mark.parametrize("number", [0, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63)])
def test_a_user_may_be_a_number_and_is_the_same_as_its_text(number: int) -> None:
    for more in ({}, {"timestamp": "2021-01-01 11:00:00"}):
        sent = parse_story_event(body(user_id=number, **more), NOW)
        assert sent == parse_story_event(body(user_id=str(number), **more), NOW)
        assert sent.user == str(number)
        # However the rest of the event is written.
        assert sent.user == parse_story_event(body(user_id=number, event_type='say"so'), NOW).user


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 10**30])
def test_a_user_beyond_64_bits_is_refused(number: int) -> None:
    ((_, what),) = faults(body(user_id=number))
    assert what.startswith("is a whole number beyond 64 bits")


def test_a_member_named_twice_is_refused_beside_a_number_as_user() -> None:
    sent = b'{"story_id":1,"event_type":"x","user_id":1,"user_id":2}'
    ((_, what),) = faults(sent)
    assert what.startswith("holds an object that names a member twice")


@pytest.mark.parametrize("word", ["x", "swipe-up", "schließen", "点击", "a" * 50, 'say"so'])
def test_a_type_is_any_short_word(word: str) -> None:
    assert parse_story_event(body(event_type=word), NOW).type == word


@pytest.mark.parametrize(
    ("members", "pointer", "message"),
    [
        ({"story_id": "1"}, "/story_id", "is not the id of a story"),
        ({"story_id": 1.0}, "/story_id", "is not the id of a story"),
        ({"story_id": True}, "/story_id", "is not the id of a story"),
        ({"story_id": None}, "/story_id", "is not the id of a story"),
        ({"story_id": -1}, "/story_id", "is not the id of a story"),
        ({"event_type": ""}, "/event_type", "is not a word of 1 to 50 characters"),
        ({"event_type": "two words"}, "/event_type", "is not a word of 1 to 50 characters"),
        ({"event_type": "a\u00a0b"}, "/event_type", "is not a word of 1 to 50 characters"),
        ({"event_type": "a\nb"}, "/event_type", "is not a word of 1 to 50 characters"),
        ({"event_type": "a" * 51}, "/event_type", "is not a word of 1 to 50 characters"),
        ({"event_type": 5}, "/event_type", "is not a word of 1 to 50 characters"),
        ({"event_type": None}, "/event_type", "is not a word of 1 to 50 characters"),
        ({"user_id": ""}, "/user_id", NO_USER),
        ({"user_id": 7.0}, "/user_id", NO_USER),
        ({"user_id": 7.5}, "/user_id", NO_USER),
        ({"user_id": True}, "/user_id", NO_USER),
        ({"user_id": {}}, "/user_id", NO_USER),
        ({"user_id": ["x"]}, "/user_id", NO_USER),
        ({"user_id": "x" * 201}, "/user_id", NO_USER),
        ({"timestamp": 5}, "/timestamp", "is not a string"),
        ({"timestamp": "2021-02-30 00:00:00"}, "/timestamp", "is not a moment: "),
        ({"timestamp": "2021-01-01"}, "/timestamp", "is not a date and time"),
        ({"timestamp": "2021-01-01T12:01:01Z"}, "/timestamp", "is more than a minute"),
        ({"session_id": "x"}, "/session_id", "is not known here"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    members: dict[str, Any], pointer: str, message: str
) -> None:
    ((where, what),) = faults(body(**members))
    assert where == pointer
    assert what.startswith(message)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"", "is empty"), (b"[]", "is not an object"), (b"5", "is not an object"),
        (b"{", "is not JSON"), (b"\xff", "is not UTF-8"), (b'{"story_id":NaN}', "is not JSON"),
        (b'{"story_id":1,"story_id":2,"event_type":"x"}', "holds an object that names a member tw"),
        (b'{"story_id":1,"event_type":"x","event_type":"x"}', "holds an object that names a mem"),
        (b'{"story_id":99999999999999999999,"event_type":"x"}', "is a whole number beyond 64 bits"),
        (b'{"story_id":9223372036854775808,"event_type":"x"}', "is a whole number beyond 64 bits"),
        (b'{"story_id":1,"event_type":"x","user_id":"\\u0000"}', "holds the character NUL"),
        (b'{"story_id":1,"event_type":"x","user_id":"\\ud800"}', "is not JSON"),
    ],
)  # fmt: skip
def test_what_is_no_json_as_it_is_read_here_is_told_so(sent: bytes, message: str) -> None:
    ((_, what),) = faults(sent)
    assert what.startswith(message)


def test_all_that_is_wrong_is_told_within_bounds() -> None:
    assert faults(b"{}") == [("/story_id", "is missing"), ("/event_type", "is missing")]
    assert (
        len(faults(body(**{f"m{n}": n for n in range(100)}))) == story_event.MAX_STORY_EVENT_ERRORS
    )


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 2**64), st.floats(), st.text(max_size=60),
    st.sampled_from(["impression", "2021-01-01 11:00:00", "a b", "1"]), st.lists(st.none()),
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from([*story_event.STORY_EVENT_MEMBERS, "other"]), VALUES),
    st.booleans(),
    st.booleans(),
)
def test_the_short_way_takes_what_the_long_one_takes(
    said: dict[str, Any], plain: bool, good: bool
) -> None:
    sent = json.dumps({**GOOD, **said} if good else said, ensure_ascii=plain).encode()

    def outcome(way: Any) -> Any:
        try:
            return way(sent, NOW)
        except InvalidEvent as wrong:
            return [msgspec.to_builtins(each) for each in wrong.faults]

    assert outcome(parse_story_event) == outcome(story_event._parse_slowly)


def test_a_row_tells_of_the_story_and_never_the_users_own_id() -> None:
    event = parse_story_event(body(user_id="who-it-is"), NOW)
    user = user_pseudonym(b"s" * 32, 7, "who-it-is")
    assert story_event_row(event, 7, user) == (
        2, 7, None, user, "story", "impression", NOW, None, None, '{"story_id":1}',
    )  # fmt: skip
    assert "who-it-is" not in repr(story_event_row(event, 7, user))


def test_a_user_is_another_number_in_another_app_or_with_another_salt() -> None:
    numbers = {
        user_pseudonym(salt * 32, app, user)
        for salt in (b"a", b"b")
        for app in (1, 2, 2**63 - 1)
        for user in ("x", "y", "é")
    }
    assert len(numbers) == 18
    assert all(-(2**63) <= number < 2**63 for number in numbers)
    assert user_pseudonym(b"a" * 32, 1, "x") == user_pseudonym(b"a" * 32, 1, "x")
