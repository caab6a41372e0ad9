"""Imports, in this process."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from domain.banners.ranking import BannerStats
from imports import importer
from store.api.errors import StoreFull, StoreRefused
from store.sqlite.banners.campaign_stats import CampaignStats, load_campaign_stats
from store.sqlite.banners.image_store import ImageStore
from tests.support.banners.campaign_files import (
    GIF,
    JPEG,
    PNG,
    SMALL_CAMPAIGN,
    data_content,
    import_in_process,
    query_rows,
    reports_by_name,
    row_counts,
    with_database,
    write_files,
)


def read(data: Path) -> CampaignStats:
    return with_database(data, load_campaign_stats)


def refused(data: Path, folder: Path) -> str:
    """Why the import is refused; it has changed nothing."""
    before = data_content(data) if (data / "marquee.db").exists() else None
    with pytest.raises(StoreRefused) as raised:
        import_in_process(data, folder)
    if before is not None:
        assert data_content(data) == before
    elif (data / "marquee.db").exists():
        assert not any(data_content(data).values())
    return str(raised.value)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "set"


def test_a_whole_set_comes_out_as_figures_targets_and_images(data: Path, folder: Path) -> None:
    result = import_in_process(data, write_files(folder, SMALL_CAMPAIGN))
    assert result.ok and result.number == 1
    assert row_counts(result) == (16, 16, 0, 0)
    assert result.seconds > 0
    found = read(data)
    assert found.imported == {
        1: {
            10: {1: BannerStats(2, 2, 2, 1_750_000), 2: BannerStats(1, 1, 0, 0)},
            11: {3: BannerStats(1, 0, 0, 0)},
        },
        2: {10: {4: BannerStats(1, 1, 1, 2_000_000)}},
    }
    assert found.campaigns == {10: {1, 2, 4}, 11: {3}}
    assert found.banners == (1, 2, 3, 4)
    assert found.targets == {1: "https://example.com/one", 2: "http://example.com/two"}
    assert found.version == 1

    async def pictures(database: Any) -> list[Any]:
        images = ImageStore(database, data / "images", 1_000_000)
        return [await images.get(banner) for banner in (1, 2, 3)]

    first, second, none = with_database(data, pictures)
    assert (first.body, first.type) == (PNG, "image/png")
    assert (second.body, second.type) == (JPEG, "image/jpeg")
    assert none is None


def test_importing_again_changes_nothing_and_says_so(data: Path, folder: Path) -> None:
    import_in_process(data, write_files(folder, SMALL_CAMPAIGN))
    before = data_content(data)
    again = import_in_process(data, folder)
    assert again.ok and again.number is None
    assert row_counts(again) == (16, 0, 16, 0)
    assert all(outcome.known for outcome in again.files)
    assert data_content(data) == before
    assert read(data).version == 1


def test_a_file_is_known_by_its_bytes_wherever_it_lies(data: Path, folder: Path) -> None:
    import_in_process(data, write_files(folder / "one", SMALL_CAMPAIGN))
    copy = {"1/impressions_1.csv": SMALL_CAMPAIGN["1/impressions_1.csv"]}
    result = import_in_process(data, write_files(folder / "two", copy))
    assert row_counts(result) == (4, 0, 4, 0)
    assert result.ok and result.number is None


def test_the_same_bytes_in_another_slot_are_another_file(data: Path, folder: Path) -> None:
    import_in_process(data, write_files(folder / "one", SMALL_CAMPAIGN))
    copy = {"3/impressions_3.csv": SMALL_CAMPAIGN["1/impressions_1.csv"]}
    result = import_in_process(data, write_files(folder / "two", copy))
    assert row_counts(result) == (4, 4, 0, 0)
    figures = read(data).imported
    for campaign, banners in figures[3].items():
        for banner, found in banners.items():
            assert found.impressions == figures[1][campaign][banner].impressions


def test_clicks_of_the_same_bytes_in_another_slot_are_duplicates(data: Path, folder: Path) -> None:
    same = {f"{slot}/clicks_{slot}.csv": SMALL_CAMPAIGN["1/clicks_1.csv"] for slot in (1, 2)}
    named = reports_by_name(import_in_process(data, write_files(folder, same)))
    stored = row_counts(named["1/clicks_1.csv"])[1]
    assert row_counts(named["2/clicks_2.csv"]) == (stored, 0, stored, 0)


def test_the_same_impressions_of_two_slots_in_one_import_count_in_each(
    data: Path, folder: Path
) -> None:
    same = {f"{slot}/impressions_{slot}.csv": "banner_id,campaign_id\n1,1\n" for slot in (1, 2)}
    result = import_in_process(data, write_files(folder, same))
    assert row_counts(result) == (2, 2, 0, 0)
    one = {1: {1: BannerStats(1, 0, 0, 0)}}
    assert read(data).imported == {1: one, 2: one}


def test_clicks_and_conversions_with_known_ids_are_kept_out(data: Path, folder: Path) -> None:
    import_in_process(data, write_files(folder / "one", SMALL_CAMPAIGN))
    more = {
        "1/clicks_1.csv": "click_id,banner_id,campaign_id\n102,9,99\n103,2,10\n103,1,10\n",
        "1/conversions_1.csv": "conversion_id,click_id,revenue\n501,103,9\n502,103,4\n502,103,8\n",
    }
    result = import_in_process(data, write_files(folder / "two", more))
    assert row_counts(reports_by_name(result)["1/clicks_1.csv"]) == (3, 1, 2, 0)
    assert row_counts(reports_by_name(result)["1/conversions_1.csv"]) == (3, 1, 2, 0)
    assert result.ok
    found = read(data)
    assert found.imported[1][10] == {
        1: BannerStats(2, 2, 2, 1_750_000),
        2: BannerStats(1, 2, 1, 4_000_000),
    }
    assert 99 not in found.campaigns
    assert found.version == 2


def test_impressions_of_another_file_add_up(data: Path, folder: Path) -> None:
    for number in range(12):
        lines = f"banner_id,campaign_id\n1,1\n2,1\n1,{number}\n"
        import_in_process(data, write_files(folder / str(number), {"4/impressions_4.csv": lines}))
    assert read(data).imported[4][1] == {1: BannerStats(13, 0, 0, 0), 2: BannerStats(12, 0, 0, 0)}
    apart = query_rows(data, "SELECT count(DISTINCT import) FROM figure")[0][0]
    assert isinstance(apart, int) and apart < 12


def test_a_conversion_may_follow_a_click_of_another_slot_or_import(
    data: Path, folder: Path
) -> None:
    first = {
        "2/clicks_2.csv": "click_id,banner_id,campaign_id\n7,70,700\n",
        "1/conversions_1.csv": "conversion_id,click_id,revenue\n1,7,1\n",
    }
    import_in_process(data, write_files(folder / "one", first))
    second = {"3/conversions_3.csv": "conversion_id,click_id,revenue\n2,7,3\n"}
    assert import_in_process(data, write_files(folder / "two", second)).ok
    found = read(data).imported
    assert found[1] == {700: {70: BannerStats(0, 0, 1, 1_000_000)}}
    assert found[2] == {700: {70: BannerStats(0, 1, 0, 0)}}
    assert found[3] == {700: {70: BannerStats(0, 0, 1, 3_000_000)}}


def test_rejected_rows_are_kept_as_they_came_and_stop_no_good_ones(
    data: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoilt = {
        "1/impressions_1.csv": "banner_id,campaign_id\n1,10\nx,10\n\n1,10\nx,10\n",
        "1/clicks_1.csv": (
            "click_id,banner_id,campaign_id\r\n1,1,10\r\n2,-1,10\r\n\r\n"
            '"3",1,10\r\n4,1,"10\r\n5,1,10\r\n6,1\r\n'
        ),
        "1/conversions_1.csv": (
            "conversion_id,click_id,revenue\n1,1,2.5\n2,1,-1\n3,99,1\n4,1,inf\n5,1,ü\n6,5,1\n"
        ),
        "targets.csv": "banner_id,url\n1,javascript:alert(1)\n1,https://a.example/\n",
    }
    with caplog.at_level(logging.WARNING):
        result = import_in_process(data, write_files(folder, spoilt))
    assert result.ok
    named = reports_by_name(result)
    assert row_counts(named["1/impressions_1.csv"]) == (4, 2, 0, 2)
    assert row_counts(named["1/clicks_1.csv"]) == (6, 3, 0, 3)
    assert row_counts(named["1/conversions_1.csv"]) == (6, 2, 0, 4)
    assert row_counts(named["targets.csv"]) == (2, 1, 0, 1)
    assert query_rows(data, "SELECT file, line, reason, row FROM reject ORDER BY file, line") == [
        ("1/clicks_1.csv", 3, "banner_id is negative", "2,-1,10"),
        ("1/clicks_1.csv", 6, "its quotes are wrong: unexpected end of data", '4,1,"10'),
        ("1/clicks_1.csv", 8, "2 columns instead of 3", "6,1"),
        ("1/conversions_1.csv", 3, "revenue is negative", "2,1,-1"),
        ("1/conversions_1.csv", 4, "click 99 is not known", "3,99,1"),
        ("1/conversions_1.csv", 5, "revenue is not finite", "4,1,inf"),
        ("1/conversions_1.csv", 6, "revenue is not a number", "5,1,ü"),
        ("1/impressions_1.csv", 3, "banner_id is not a number", "x,10"),
        ("1/impressions_1.csv", 6, "banner_id is not a number", "x,10"),
        ("targets.csv", 2, "url is neither http nor https", "1,javascript:alert(1)"),
    ]
    assert "1/clicks_1.csv, line 3: banner_id is negative: '2,-1,10'" in caplog.messages
    assert read(data).imported[1][10][1] == BannerStats(2, 3, 2, 3_500_000)


def test_many_rejects_are_logged_in_a_few_lines(
    data: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = "click_id,banner_id,campaign_id\n" + "x,1,1\n" * 3_000
    with caplog.at_level(logging.WARNING):
        result = import_in_process(data, write_files(folder, {"1/clicks_1.csv": lines}))
    assert row_counts(result) == (3_000, 0, 0, 3_000)
    assert len(caplog.messages) == 21
    assert caplog.messages[-1] == "1/clicks_1.csv: 2980 more rows rejected"
    assert query_rows(data, "SELECT count(*), max(line) FROM reject") == [(3_000, 3_001)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends_of_all_kinds_and_a_byte_order_mark_are_fine(
    data: Path, folder: Path, end: str, last: bool
) -> None:
    lines = ["\ufeffclick_id,banner_id,campaign_id", "1,2,3", "", "4,5,6", "bad"]
    text = end.join(lines) + end * last
    result = import_in_process(data, write_files(folder, {"1/clicks_1.csv": text}))
    assert row_counts(result) == (3, 2, 0, 1)
    assert query_rows(data, "SELECT line, row FROM reject") == [(5, "bad")]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "is empty"),
        (b"1,2,3\n4,5,6\n", "lacks its header: its first line must name the columns click_id"),
        (b'{"click_id": 1}', "lacks its header"),
        (b"click_id:banner_id:campaign_id\n1:2:3\n", "semicolons, tabs or vertical bars"),
        (b"click_id,campaign_id\n1,3\n", "banner_id is missing"),
        ("click_id,banner_id,campaign_id\n1,2,3\n".encode("utf-16"), "is UTF-16"),
        (b"click_id,banner_id,campaign_id\n1,2,3\n" * 90_000 + b"\0\n", "holds NUL bytes"),
        (b"click_id,banner_id,campaign_id\n" + b"1,2,3\n" * 90_000 + b"\xff", "not UTF-8"),
        (b"click_id,banner_id,campaign_id\n1,2,3\xc3", "not UTF-8"),
        (b"click_id,banner_id,campaign_id\n1,2," + b"3" * 2_000_000, "line 2 is longer"),
    ],
)
def test_a_file_that_is_no_csv_ends_the_import_with_nothing_changed(
    data: Path, folder: Path, body: bytes, reason: str
) -> None:
    told = refused(data, write_files(folder, {**SMALL_CAMPAIGN, "2/clicks_2.csv": body}))
    assert told.startswith("2/clicks_2.csv")
    assert reason in told
    assert import_in_process(data, write_files(folder, SMALL_CAMPAIGN)).stored == 16


def test_a_file_that_changes_while_it_is_read_ends_the_import(
    data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def examine(source: Any) -> bytes:
        digest = real(source)
        if source.kind == "clicks":
            with source.path.open("a") as file:
                file.write("900,1,1\n")
        return digest

    real = importer.inspect_file
    monkeypatch.setattr(importer, "inspect_file", examine)
    assert "changed while it was read" in refused(data, write_files(folder, SMALL_CAMPAIGN))


def test_a_folder_with_nothing_to_import_is_refused(data: Path, folder: Path) -> None:
    write_files(folder, {"1/readme.txt": "", "5/clicks_5.csv": "", "notes.csv": "a,b\n"})
    told = refused(data, folder)
    assert "holds nothing to import" in told
    assert "notes.csv" in told
    assert "is not a folder" in refused(data, folder / "missing")
    assert "is not a folder" in refused(data, folder / "notes.csv")


def test_a_part_of_a_set_is_taken(data: Path, folder: Path) -> None:
    for name in ("1/impressions_1.csv", "targets.csv", "images/image_1.png"):
        result = import_in_process(
            data, write_files(folder / name.replace("/", "-"), {name: SMALL_CAMPAIGN[name]})
        )
        assert result.ok and [outcome.name for outcome in result.files] == [name]


def test_files_in_the_wrong_place_are_told_and_not_taken(data: Path, folder: Path) -> None:
    strays = ["1/Impressions_1.CSV", "1/impressions_2.csv", "click.csv", "image_1.png"]
    strays += ["images/banner.png", "images/image_1_2.png"]
    write_files(
        folder, {**SMALL_CAMPAIGN, **dict.fromkeys(strays, "a"), "1/notes.txt": "", ".x.csv": ""}
    )
    result = import_in_process(data, folder)
    assert [each.name for each in result.strays] == sorted([*strays, "1/notes.txt"])
    assert [each.name for each in result.strays if not each.data] == ["1/notes.txt"]
    assert not result.ok
    assert result.stored == 16


def test_a_right_name_with_no_file_behind_it_is_told(data: Path, folder: Path) -> None:
    write_files(
        folder, {name: content for name, content in SMALL_CAMPAIGN.items() if name[0] == "1"}
    )
    (folder / "2").mkdir()
    (folder / "2/clicks_2.csv").symlink_to(folder / "gone.csv")
    (folder / "2/conversions_2.csv").mkdir()
    os.mkfifo(folder / "2/impressions_2.csv")
    (folder / "images").mkdir(exist_ok=True)
    (folder / "images/image_3.png").symlink_to(folder / "images/gone.png")
    result = import_in_process(data, folder)
    assert [each.name for each in result.strays] == [
        *(f"2/{kind}_2.csv" for kind in ("clicks", "conversions", "impressions")),
        "images/image_3.png",
    ]
    assert not result.ok and result.stored


def test_targets_and_images_may_lie_in_several_places(data: Path, folder: Path) -> None:
    files: dict[str, str | bytes] = {}
    for banner, place in enumerate(["", "images/", "3/", "3/images/"]):
        files[f"{place}targets.csv"] = f"banner_id,url\n{banner},https://a.example/{banner}\n"
    for banner, place in enumerate(["images/", "3/images/", "4/images/"]):
        files[f"{place}image_{banner}.gif"] = GIF
    assert import_in_process(data, write_files(folder, files)).ok
    assert read(data).targets == {banner: f"https://a.example/{banner}" for banner in range(4)}
    assert query_rows(data, "SELECT banner, type FROM image") == [
        (b, "image/gif") for b in range(3)
    ]


def test_a_newer_target_or_image_replaces_the_older_and_may_go_back(
    data: Path, folder: Path
) -> None:
    sets = {
        "a": {"targets.csv": "banner_id,url\n1,https://a.example/\n", "images/image_1.png": PNG},
        "b": {"targets.csv": "banner_id,url\n1,https://b.example/\n", "images/image_1.png": GIF},
    }
    for version, name in enumerate("aba", 1):
        result = import_in_process(data, write_files(folder / name, sets[name]))
        assert row_counts(result) == (2, 2, 0, 0)
        found = read(data)
        assert (found.targets, found.version) == ({1: f"https://{name}.example/"}, version)
        kinds = query_rows(data, "SELECT type FROM image ORDER BY import DESC LIMIT 1")
        assert kinds == [("image/png" if name == "a" else "image/gif",)]
    assert import_in_process(data, folder / "a").number is None
    # What one of the newest imports replaced returns if that one is taken back.
    assert len(list((data / "images").iterdir())) == 2
    for number in range(10):
        shown = {"1/impressions_1.csv": f"banner_id,campaign_id\n1,{number}\n"}
        import_in_process(data, write_files(folder / str(number), shown))
    assert len(list((data / "images").iterdir())) == 1


def test_a_banner_has_one_target_and_one_image_in_an_import(data: Path, folder: Path) -> None:
    two = {
        "targets.csv": "banner_id,url\n1,https://a.example/\n1,https://a.example/\n",
        "images/targets.csv": "banner_id,url\n1,https://b.example/\n",
        "images/image_1.gif": GIF,
        "images/image_1.png": PNG,
        "1/images/image_1.gif": GIF,
    }
    for stored in (1, 0):
        named = reports_by_name(import_in_process(data, write_files(folder, two)))
        # Files go by their names: images/targets.csv comes before targets.csv.
        assert row_counts(named["images/targets.csv"]) == (1, stored, 1 - stored, 0)
        assert row_counts(named["targets.csv"]) == (2, 0, 0, 2)
        assert row_counts(named["1/images/image_1.gif"]) == (1, stored, 1 - stored, 0)
        assert row_counts(named["images/image_1.gif"]) == (1, 0, 1, 0)
        assert row_counts(named["images/image_1.png"]) == (1, 0, 0, 1)
        assert not named["images/image_1.png"].taken
    assert read(data).targets == {1: "https://b.example/"}


def test_what_is_no_image_or_too_large_is_rejected_and_the_rest_is_taken(
    data: Path, folder: Path
) -> None:
    write_files(
        folder, {**SMALL_CAMPAIGN, "images/image_7.png": b"<html>", "images/image_8.png": PNG}
    )
    os.truncate(folder / "images/image_8.png", 10 * 1024 * 1024 + 1)
    result = import_in_process(data, folder)
    assert not result.ok
    assert result.stored == 16
    assert query_rows(data, "SELECT file, line, reason, row FROM reject ORDER BY file") == [
        ("images/image_7.png", 0, "is an HTML page, not an image", ""),
        ("images/image_8.png", 0, "is larger than 10 MB", ""),
    ]


def test_progress_goes_by_bytes_read_from_none_to_all(data: Path, folder: Path) -> None:
    from imports.importer import import_folder
    from store.sqlite.imports.import_staging import ImportStaging

    lines = "click_id,banner_id,campaign_id\n" + "".join(f"{n},1,1\n" for n in range(60_000))
    write_files(folder, {**SMALL_CAMPAIGN, "3/clicks_3.csv": lines})
    total = sum(path.stat().st_size for path in folder.rglob("*.*") if path.is_file())
    told: list[tuple[int, int]] = []

    async def use(database: Any) -> None:
        staging = ImportStaging(database, data / "images")
        await import_folder(folder, staging, lambda *now: told.append(now))

    for _ in range(2):
        told.clear()
        with_database(data, use)
        assert {all_of_it for _, all_of_it in told} == {total}
        done = [now for now, _ in told]
        assert done == sorted(done) and done[0] == 0 and done[-1] == total
        assert len(done) > len(SMALL_CAMPAIGN)


def test_a_revenue_beyond_64_bits_in_sum_stays_at_the_largest(data: Path, folder: Path) -> None:
    most = "9223372036854.775807"
    for number in range(10):
        rows_of = "".join(f"{number * 3 + n},1,{most}\n" for n in range(3))
        files = {"1/conversions_1.csv": "conversion_id,click_id,revenue\n" + rows_of}
        if not number:
            files["1/clicks_1.csv"] = "click_id,banner_id,campaign_id\n1,1,1\n"
        assert import_in_process(data, write_files(folder / str(number), files)).stored >= 3
    figures = read(data).imported[1][1][1]
    assert figures.conversions == 30
    assert figures.revenue >= 2**63 - 1


def test_an_unreadable_file_is_told_by_name(
    data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(folder, SMALL_CAMPAIGN)
    real = Path.open

    def locked(self: Path, *args: Any, **kwargs: Any) -> Any:
        if self.name == "clicks_2.csv":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", locked)
    assert refused(data, folder) == "2/clicks_2.csv cannot be read: Permission denied"


def test_names_that_are_no_text_are_told_as_well_as_can_be(data: Path, folder: Path) -> None:
    odd = folder / os.fsdecode(b"s\xffet")
    write_files(odd, {**SMALL_CAMPAIGN, os.fsdecode(b"\xff.csv"): "a"})
    result = import_in_process(data, odd)
    assert [each.name for each in result.strays] == ["\ufffd.csv"]
    assert query_rows(data, "SELECT source FROM import WHERE id = 1") == [(f"{folder}/s\ufffdet",)]


def test_an_image_that_finds_no_room_ends_the_import(
    data: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(StoreFull, match="No space left"):
        patched.setattr(Path, "rename", full)
        import_in_process(data, write_files(folder, SMALL_CAMPAIGN))
    assert not any(data_content(data).values())
    assert import_in_process(data, folder).ok


STRAYS = {
    "0/impressions_0.csv": 'invalid slot "0": must be 1–4',
    "02/impressions_2.csv": 'the folder must be named "2", not "02"',
    "5/clicks_5.csv": 'invalid slot "5": must be 1–4',
    "3/impressions_3.csv.gz": "is compressed: unpack it first",
    "1/clicks_1.tsv": 'must be named "clicks_1.csv"',
    "1/Clicks_1.csv": 'must be named "clicks_1.csv"',
    "1/clicks.csv": 'must be named "clicks_1.csv"',
    "1/clicks_2.csv": 'is of slot 2, but in the folder "1"',
    "1/conversions_1.xlsx": "is a spreadsheet: export it as CSV",
    "1/old/clicks_1.csv": 'the folder "1/old" is too deep',
    "clicks_1.csv": 'must be in a folder "1", its slot',
    "targets.CSV": 'must be named "targets.csv"',
    "Images/image_1.png": 'the folder of images must be named "images"',
    "image_9.PNG": 'is an image outside a folder "images"',
    "images/logo.JPG": 'must be named "image_<banner_id>.<extension>"',
    "export/1/clicks_1.csv": 'the folder "export" is no slot: must be 1–4',
    "figures.parquet": "is no file of an import",
}
OTHERS = ["README.md", "1/notes.txt", "LICENSE", "export/howto.pdf"]
LITTER = [".DS_Store", "__MACOSX/1/._clicks_1.csv", "images/Thumbs.db", "1/~$clicks_1.csv"]


def test_each_file_that_is_not_imported_is_named_with_its_reason(
    data: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_files(folder, {**SMALL_CAMPAIGN, **dict.fromkeys([*STRAYS, *OTHERS, *LITTER], "a")})
    with caplog.at_level(logging.INFO):
        result = import_in_process(data, folder)
    assert {each.name: each.reason for each in result.strays if each.data} == STRAYS
    assert sorted(each.name for each in result.strays if not each.data) == sorted(OTHERS)
    assert not result.ok and result.stored == 16
    assert all(f"{name} is not imported: {why}" in caplog.text for name, why in STRAYS.items())
    assert not any(name in caplog.text for name in LITTER)


def test_a_folder_with_other_files_beside_is_imported_without_fault(
    data: Path, folder: Path
) -> None:
    write_files(folder, {**SMALL_CAMPAIGN, **dict.fromkeys([*OTHERS, *LITTER], "a")})
    assert import_in_process(data, folder).ok


def test_links_to_folders_are_named_and_not_followed(data: Path, folder: Path) -> None:
    write_files(folder, SMALL_CAMPAIGN)
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    result = import_in_process(data, folder)
    assert [(each.name, each.data) for each in result.strays] == [("loop", True)]


def test_a_link_to_a_slot_is_followed(data: Path, folder: Path) -> None:
    write_files(folder / "elsewhere", SMALL_CAMPAIGN)
    (folder / "set").mkdir()
    (folder / "set" / "1").symlink_to(folder / "elsewhere" / "1", target_is_directory=True)
    result = import_in_process(data, folder / "set")
    assert result.ok and result.stored


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32"])
def test_text_of_two_bytes_a_character_is_refused_by_its_name(
    data: Path, folder: Path, encoding: str
) -> None:
    text = "\ufeff" * (encoding == "utf-16-be") + "banner_id,campaign_id\n1,1\n"
    write_files(folder, {"1/impressions_1.csv": text.encode(encoding)})
    assert "save it as UTF-8" in refused(data, folder)


def test_files_of_spreadsheets_are_imported(data: Path, folder: Path) -> None:
    files = {
        "1/impressions_1.csv": "sep=;\r\nCampaign_id;Banner_id;Day\r\n7;1;mon\r\n;;\r\n7;1;\r\n",
        "1/clicks_1.csv": "campaign_id\tclick_id\tbanner_id\n7\t1\t1\n\n7\t2\t1\t\n7\tx\t1\n",
        "1/conversions_1.csv": '\ufeff"revenue"|"click_id"|"conversion_id"\n"1.5"|"1"|"1"\n',
        "targets.csv": "note;url;banner_id\n;https://a.example/;1\n",
    }
    result = import_in_process(data, write_files(folder, files))
    assert result.ok
    named = reports_by_name(result)
    assert row_counts(named["1/impressions_1.csv"]) == (2, 2, 0, 0)
    assert row_counts(named["1/clicks_1.csv"]) == (3, 2, 0, 1)
    assert query_rows(data, "SELECT line, row FROM reject") == [(5, "7\tx\t1")]
    assert read(data).imported == {1: {7: {1: BannerStats(2, 2, 1, 1_500_000)}}}
    assert read(data).targets == {1: "https://a.example/"}
