from collections import Counter
from random import Random

import pytest

from demo import demo_traffic
from demo.demo_traffic import (
    ARRIVALS_PER_SECOND,
    DEMO_HOST,
    FIRST_SURGE_SECOND,
    PAGE_TITLES,
    WARM_UP_SECONDS,
    DemoTraffic,
)
from domain.audience.beacon import KIND_BEAT, KIND_VIEW
from domain.audience.trend_score import RISING
from domain.audience.visitor_history import VisitorHistory


def test_visitors_arrive_and_leave_at_constant_rate() -> None:
    audience = DemoTraffic(Random(1))
    signs = [sign for _ in range(3_600) for sign in audience.step()]
    views = [sign for sign in signs if sign.kind == KIND_VIEW]
    assert {sign.host for sign in signs} == {DEMO_HOST}
    assert {sign.path for sign in views} == set(PAGE_TITLES)
    first = {sign.session for sign in signs}
    assert ARRIVALS_PER_SECOND * 3_600 * 0.9 < len(first) < (ARRIVALS_PER_SECOND + 4) * 3_600
    assert len(audience._visits) < 1_000
    beats = Counter(sign.session for sign in signs if sign.kind == KIND_BEAT)
    assert max(beats.values()) > 5


@pytest.mark.parametrize("seed", range(5))
def test_a_page_rises_within_ten_minutes(seed: int) -> None:
    audience, history = DemoTraffic(Random(seed)), VisitorHistory()
    last: dict[tuple[str, str], int] = {}
    risen: Counter[str] = Counter()
    for second in range(FIRST_SURGE_SECOND + 600):
        for sign in audience.step():
            last[sign.session, sign.path] = second
        if second % 5 == 0:
            here = Counter(path for (_, path), at in last.items() if at > second - 60)
            if second < WARM_UP_SECONDS:
                continue
            history.add(here, 1_000_000 + second)
            for page in history.rising(limit=20):
                risen[page.path] += page.judged.state == RISING
            if second < FIRST_SURGE_SECOND:
                assert not risen.total()
    assert max(risen.values()) > 5
    assert demo_traffic.DEMO_TOKEN == "token_played"
