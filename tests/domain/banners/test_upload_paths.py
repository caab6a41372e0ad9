"""Where an uploaded file goes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.banners.upload_paths import is_junk_file, path_in_campaign


@pytest.mark.parametrize(
    ("said", "where"),
    [
        ("clicks_1.csv", "1/clicks_1.csv"),
        ("1/clicks_1.csv", "1/clicks_1.csv"),
        ("my campaigns/2/impressions_2.csv", "2/impressions_2.csv"),
        ("C:\\data\\3\\conversions_3.csv", "3/conversions_3.csv"),
        ("../../../4/conversions_4.csv", "4/conversions_4.csv"),
        ("/etc/targets.csv", "targets.csv"),
        ("x/1/targets.csv", "1/targets.csv"),
        ("image_101.png", "images/image_101.png"),
        ("x/images/image_101.jpeg", "images/image_101.jpeg"),
        ("2/images/image_101.png", "2/images/image_101.png"),
        ("1/clicks_2.csv", None),
        ("clicks_5.csv", None),
        ("clicks_1.csv.exe", None),
        ("image_x.png", None),
        ("../../etc/passwd", None),
        ("", None),
        ("images/", None),
    ],
)
def test_names_decide(said: str, where: str | None) -> None:
    assert path_in_campaign(said) == where


@given(st.text() | st.from_regex(r"(\.\./|/|[1-4]/|x\\)*(clicks_1\.csv|image_7\.png|targets\.csv)"))
def test_nothing_leads_out_of_the_folder(said: str) -> None:
    where = path_in_campaign(said)
    assert where is None or re.fullmatch(
        r"([1-4]/)?(images/image_\d{1,19}\.\w{1,5}|targets\.csv|(clicks|conversions|impressions)_[1-4]\.csv)",
        where,
    )


@pytest.mark.parametrize(
    ("said", "is_litter"),
    [(".DS_Store", True), ("__MACOSX/1/._x.csv", True), ("a/Thumbs.db", True), ("x.csv", False)],
)
def test_what_programs_leave_behind_is_nobodys_mistake(said: str, is_litter: bool) -> None:
    assert is_junk_file(said) is is_litter
