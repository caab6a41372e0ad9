"""The same characters are the same name and the same password, however they are encoded."""

from unicodedata import normalize

import pytest

from domain.admin.user_names import normalize_password, normalize_user_name, user_name_key


@pytest.mark.parametrize("form", ["NFC", "NFD", "NFKC", "NFKD"])
@pytest.mark.parametrize("name", ["J\u00fcrgen", "\u1ec6", "\ud55c\uae00", "maria"])
def test_a_name_is_one_name_in_every_form(form, name):
    assert normalize_user_name(normalize(form, name)) == name
    assert user_name_key(normalize(form, name).swapcase()) == user_name_key(name)


@pytest.mark.parametrize(
    ("one", "other"), [("\uff4d\uff41\uff52\uff49\uff41", "Maria"), ("Stra\u00dfe", "STRASSE")]
)
def test_names_are_compared_without_case_and_width(one, other):
    assert user_name_key(one) == user_name_key(other)


@pytest.mark.parametrize(
    ("typed", "hashed"),
    [
        ("Gr\u00f6\u00dfe", "Gr\u00f6\u00dfe"),
        (normalize("NFD", "Gr\u00f6\u00dfe \ud55c\uae00"), "Gr\u00f6\u00dfe \ud55c\uae00"),
        ("\u212b ngstr\u00f6m", "\u00c5 ngstr\u00f6m"),
        ("a\u00a0b\u2003c\u3000d", "a b c d"),
        # Neither case nor width is changed: these are other passwords.
        ("\uff21 \ufb01 A", "\uff21 \ufb01 A"),
        ("plain  ASCII ", "plain  ASCII "),
        ("\ud83d", "\ud83d"),
    ],
)
def test_a_password_is_hashed_in_its_composed_form_with_plain_spaces(typed, hashed):
    assert normalize_password(typed) == hashed
    assert normalize_password(hashed) == hashed
