"""Whatever is in a set: what was imported is what a plain reading of the rules gives."""

import csv
import io
import math
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from domain.banners.ranking import BannerStats
from store.sqlite.banners.campaign_stats import load_campaign_stats
from tests.support.banners.campaign_files import (
    import_in_process,
    query_rows,
    reports_by_name,
    row_counts,
    with_database,
    write_files,
)

HEADERS = {
    "clicks": "click_id,banner_id,campaign_id",
    "conversions": "conversion_id,click_id,revenue",
    "impressions": "banner_id,campaign_id",
}
small = st.integers(0, 6).map(str)
revenue = st.sampled_from(["0", "1.5", "0.000001", "-1", "nan", "inf", "1e3", "x", "12345678.9"])
wrong = st.sampled_from(["", "x", "-1", "1.5", "9223372036854775808", "a b"])
value = st.one_of(small, small, small, small, wrong)
LINES = {
    "clicks": st.tuples(value, value, value),
    "conversions": st.tuples(value, value, st.one_of(revenue, small)),
    "impressions": st.tuples(value, value),
}
end = st.sampled_from(["\n", "\r\n"])


@st.composite
def lines(draw: st.DrawFn, kind: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator=draw(end), quoting=draw(st.sampled_from([0, 1])))
    writer.writerow(HEADERS[kind].split(","))
    for row in draw(st.lists(LINES[kind], max_size=12)):
        writer.writerow(row + (("1",) if draw(st.integers(0, 15)) == 0 else ()))
    return text.getvalue()


sets = st.fixed_dictionaries(
    {},
    optional={f"{slot}/{kind}_{slot}.csv": lines(kind) for slot in (1, 2, 4) for kind in HEADERS},
).filter(bool)


@dataclass
class Model:
    """The rules of an import, slow and plain."""

    clicks: dict[int, tuple[int, int]] = field(default_factory=dict)
    conversions: set[int] = field(default_factory=set)
    files: set[tuple[str, str]] = field(default_factory=set)
    figures: dict[tuple[int, int, int], list[int]] = field(
        default_factory=lambda: defaultdict(lambda: [0, 0, 0, 0])
    )

    def take(self, files: Mapping[str, str]) -> dict[str, tuple[int, int, int, int]]:
        order = ["clicks", "conversions", "impressions"]
        outcomes = {}
        for name in sorted(files, key=lambda name: (order.index(name[2:].split("_")[0]), name)):
            rows = [row for row in csv.reader(io.StringIO(files[name])) if any(row)][1:]
            if (name, files[name]) in self.files:
                outcomes[name] = (len(rows), 0, len(rows), 0)
                continue
            self.files.add((name, files[name]))
            what = [self.row(name[2:].split("_")[0], int(name[0]), row) for row in rows]
            outcomes[name] = (
                len(rows),
                what.count("stored"),
                what.count("duplicate"),
                what.count("rejected"),
            )
        return outcomes

    def row(self, kind: str, slot: int, row: list[str]) -> str:
        if len(row) != len(HEADERS[kind].split(",")):
            return "rejected"
        whole = row[:2] if kind == "conversions" else row
        if not all(text.isdigit() and int(text) < 2**63 for text in whole):
            return "rejected"
        numbers = [int(text) for text in whole]
        if kind == "impressions":
            self.figures[slot, numbers[1], numbers[0]][0] += 1
        elif kind == "clicks":
            if numbers[0] in self.clicks:
                return "duplicate"
            self.clicks[numbers[0]] = (numbers[2], numbers[1])
            self.figures[slot, numbers[2], numbers[1]][1] += 1
        else:
            return self.conversion(slot, *numbers, row[2])
        return "stored"

    def conversion(self, slot: int, number: int, click: int, revenue: str) -> str:
        try:
            amount = float(revenue)
        except ValueError:
            return "rejected"
        if not math.isfinite(amount) or amount < 0:
            return "rejected"
        if number in self.conversions:
            return "duplicate"
        if click not in self.clicks:
            return "rejected"
        self.conversions.add(number)
        figures = self.figures[slot, *self.clicks[click]]
        figures[2] += 1
        figures[3] += int(Decimal(revenue) * 10**6)
        return "stored"


@settings(max_examples=60)
@given(st.lists(sets, min_size=1, max_size=3))
def test_any_sets_one_after_another_give_what_the_rules_say(some: list[dict[str, str]]) -> None:
    model = Model()
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "data"
        rejected = 0
        for number, files in enumerate(some):
            expected = model.take(files)
            result = import_in_process(data, write_files(Path(place) / str(number), files))
            assert {
                name: row_counts(it) for name, it in reports_by_name(result).items()
            } == expected
            assert result.ok
            rejected += result.rejected
        found = with_database(data, load_campaign_stats).imported
        assert len(query_rows(data, "SELECT 1 FROM reject")) == rejected
    assert {
        (slot, campaign, banner): figures
        for slot, campaigns in found.items()
        for campaign, banners in campaigns.items()
        for banner, figures in banners.items()
    } == {key: BannerStats(*sums) for key, sums in model.figures.items()}
