from collections import Counter
from random import Random

import pytest

from rules import played
from rules.beacon import BEAT, VIEW
from rules.growth import RISING
from rules.history import History
from rules.played import COMING, FIRST, HOST, PAGES, WARM, Played


def test_a_few_come_each_second_and_as_many_leave() -> None:
    audience = Played(Random(1))
    signs = [sign for _ in range(3_600) for sign in audience.step()]
    views = [sign for sign in signs if sign.kind == VIEW]
    assert {sign.host for sign in signs} == {HOST}
    assert {sign.path for sign in views} == set(PAGES)
    first = {sign.session for sign in signs}
    assert COMING * 3_600 * 0.9 < len(first) < (COMING + 4) * 3_600
    assert len(audience._visits) < 1_000
    beats = Counter(sign.session for sign in signs if sign.kind == BEAT)
    assert max(beats.values()) > 5


@pytest.mark.parametrize("seed", range(5))
def test_within_some_minutes_a_page_is_called_rising(seed: int) -> None:
    audience, history = Played(Random(seed)), History()
    last: dict[tuple[str, str], int] = {}
    risen: Counter[str] = Counter()
    for second in range(FIRST + 600):
        for sign in audience.step():
            last[sign.session, sign.path] = second
        if second % 5 == 0:
            here = Counter(path for (_, path), at in last.items() if at > second - 60)
            if second < WARM:
                continue
            history.add(here, 1_000_000 + second)
            for page in history.rising(limit=20):
                risen[page.path] += page.judged.state == RISING
            if second < FIRST:
                assert not risen.total()
    assert max(risen.values()) > 5
    assert played.TOKEN == "token_played"
