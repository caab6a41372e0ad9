"""Stories as they are said, one by one and in files."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.common.timestamp import parse_timestamp
from domain.stories.story import InvalidStory, Story, parse_story
from domain.stories.story_files import InvalidStoriesFile, parse_stories_file

GOOD: dict[str, Any] = {"app": "token_1", "id": 1, "metadata": {"img": "a.png", "title": "é"}}
PUT = Story("token_1", 1, '{"img":"a.png","title":"é"}')


def test_a_story_has_what_was_said_of_it() -> None:
    assert parse_story(GOOD) == PUT
    assert parse_story({**GOOD, "metadata": '{"img": "a.png", "title": "é"}'}) == PUT
    assert parse_story({"app": 5, "id": "9", "img": "b.png"}) == Story("5", 9, '{"img":"b.png"}')
    whole = {**GOOD, "order": "-3", "from": "2021-01-01", "until": "2021-01-02T01:00:00+01:00"}
    begin, end = parse_timestamp("2021-01-01T00:00:00Z"), parse_timestamp("2021-01-02T00:00:00Z")
    assert parse_story(whole) == Story("token_1", 1, PUT.metadata, -3, begin, end)
    assert parse_story({**GOOD, "order": "", "from": None, "until": ""}) == PUT


@pytest.mark.parametrize(
    ("said", "pointer", "message"),
    [
        ({"id": None}, "/id", "is missing"),
        ({"app": ""}, "/app", "is missing"),
        ({"app": True}, "/app", "is not the id, name"),
        ({"metadata": None}, "/metadata", "is missing"),
        ({"id": -1}, "/id", "is not a whole number"),
        ({"id": 2**63}, "/id", "is not a whole number"),
        ({"id": "9" * 30}, "/id", "is not a whole number"),
        ({"id": 1.5}, "/id", "is not a whole number"),
        ({"id": True}, "/id", "is not a whole number"),
        ({"order": "first"}, "/order", "is not a whole number"),
        ({"order": 2**40}, "/order", "is not a whole number"),
        ({"from": 5}, "/from", "is not a string"),
        ({"until": "soon"}, "/until", "is not a date and time"),
        ({"from": "2021-01-02", "until": "2021-01-02"}, "/until", "is not after from"),
        ({"metadata": "{"}, "/metadata", "is not JSON"),
        ({"metadata": '{"img":"a","img":"b"}'}, "/metadata", "holds an object that names"),
        ({"metadata": []}, "/metadata", "is not an object"),
        ({"metadata": {}}, "/metadata", "has no img"),
        ({"metadata": {"img": 5}}, "/metadata", "has no img"),
        ({"metadata": {"img": ""}}, "/metadata", "has no img"),
        ({"metadata": {"img": "x", "more": "y" * 70_000}}, "/metadata", "has more than"),
        ({"img": "x"}, "/img", "stands beside metadata"),
    ],
)
def test_what_is_wrong_with_one_is_told(said: dict[str, Any], pointer: str, message: str) -> None:
    with pytest.raises(InvalidStory) as raised:
        parse_story({**GOOD, **said})
    (fault,) = raised.value.faults
    assert fault.pointer == pointer
    assert fault.message.startswith(message)


def read(text: str) -> list[tuple[str, Any]]:
    return [(each.place, each.story or each.reason) for each in parse_stories_file(text.encode())]


def test_csv_has_a_header_in_any_order_and_a_story_a_line() -> None:
    text = (
        '\ufeffMETADATA,story_id,app_id,until\r\n"{""img"":""a.png"",""title"":""é""}",1,token_1,\r\n'
        "\r\nx,2,token_1\n"
        '"{""img"":""b""}",3,1,2021-01-01\n'
    )
    end = parse_timestamp("2021-01-01T00:00:00Z")
    assert read(text) == [
        ("line 2", PUT),
        ("line 4", "3 columns instead of 4"),
        ("line 5", Story("1", 3, '{"img":"b"}', None, None, end)),
    ]


def test_json_is_an_array_or_what_a_list_of_stories_is() -> None:
    one = json.dumps({**GOOD, "changed_at": "2021-01-01T00:00:00Z", "order": 1})
    other = (
        '{"story_id":1,"public_token":"token_1","metadata":{"img":"a.png","title":"é"},"order":1}'
    )
    found = read(f'[{one}, {other}, 5, {{}}, {other[:-1]}, "id": 5}}]')
    put = Story("token_1", 1, PUT.metadata, 1)
    assert found[:3] == [("item 1", put), ("item 2", put), ("item 3", "is not an object")]
    assert found[3] == ("item 4", "app is missing; id is missing; metadata is missing")
    assert found[4][1] == "has a member that is not known, or said already: 'id'"
    assert read(f'{{"stories":[{one}]}}') == [("item 1", put)]
    assert read("[]") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        ("id,app\n1,1\n", "has to name id, app, and img or metadata"),
        ("id,img\n1,a\n", "has to name id, app"),
        ("id,id,app,img\n", "each once"),
        ("id,story_id,app,img\n", "each once"),
        ("id,app,img,colour\n", "a column that is not known: 'colour'"),
        ('id,"app\n', "its header cannot be read"),
        ("[1, 2", "is not JSON"),
        ("{}", "no array, nor an object with `stories`"),
        ('{"stories":[],"more":1}', "no array, nor an object with `stories`"),
        ('{"stories":5}', "it "),
        ("\x89PNG\r\n", "a column that is not known"),
    ],
)
def test_a_file_that_holds_no_stories_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidStoriesFile, match=message):
        list(parse_stories_file(text.encode()))


def test_a_file_in_another_encoding_is_refused() -> None:
    with pytest.raises(InvalidStoriesFile, match="UTF-8"):
        list(parse_stories_file("id,app,img\n1,1,é\n".encode("latin-1")))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_a_file_holds_is_stories_or_told_why_not(body: bytes) -> None:
    for start in (b"", b"[", b"id,app,img\n", b'[{"id":1,"app":1,"img":"a"},'):
        try:
            for each in parse_stories_file(start + body):
                assert (each.story is None) == bool(each.reason)
        except InvalidStoriesFile as error:
            assert str(error)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_csv_may_have_another_delimiter(delimiter: str) -> None:
    lines = ["id,app,img,order", "1,token_1,a.png,1", ",,,", '2,token_1,"b.png",2']
    body = "\r\n".join(lines).replace(",", delimiter).encode()
    found = list(parse_stories_file(body))
    assert [each.place for each in found] == ["line 2", "line 4"]
    assert [each.story.id for each in found if each.story] == [1, 2]
