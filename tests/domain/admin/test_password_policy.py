"""What a password must be."""

import pytest

from domain.admin.password_policy import password_problem


@pytest.mark.parametrize(
    "right", ["correct horse", "s23in-qd2ty-6i2nu-hncu7", "Ünïcode wörds", "x1!y2?z3#a"]
)
def test_a_long_one_is_taken_whatever_it_is_made_of(right: str) -> None:
    assert password_problem(right, "maria") is None


def test_what_many_people_have_is_not() -> None:
    from zxcvbn.frequency_lists import FREQUENCY_LISTS

    long = [each for each in FREQUENCY_LISTS["passwords"] if len(each) >= 10]
    assert len(long) > 1_000
    assert [each for each in long[::10] if password_problem(each, "maria") is None] == []


@pytest.mark.parametrize(
    "wrong",
    ["", "short one", "aaaaaaaaaaaa", "abababababab", "1234567890", "password123", "Passwort2024!",
     "maria2024!!", "qwertyuiop", "x" * 501, "liverpool1", "1q2w3e4r5t", "starwars1977",
     "P@ssw0rd2024", "zaq12wsxcde3"],
)  # fmt: skip
def test_what_is_short_or_tried_first_is_not(wrong: str) -> None:
    assert password_problem(wrong, "Maria" if wrong.startswith("maria") else "other")
