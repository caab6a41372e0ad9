"""Who is where: within the window, within bounds, as the plainest model has it."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store import presence
from store.presence import Presence


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def swept(here: Presence, app: int = 1, host: str = "h") -> dict[str, int]:
    while here.sweep():
        pass
    return dict(here.reading(app, host).visitors)


def test_a_visitor_is_there_until_not_seen_for_long(clock: Clock) -> None:
    here = Presence(60, clock=clock)
    here.see(1, "h", "/", "s", title="Home")
    here.see(1, "h", "/", "s")
    here.see(1, "h", "/", "other")
    assert swept(here) == {"/": 2}
    assert here.reading(1, "h").titles == {"/": "Home"}
    clock.now += 50
    here.see(1, "h", "/", "s")
    clock.now += 12
    assert swept(here) == {"/": 1}
    clock.now += 50
    assert swept(here) == {}
    assert here.reading(1, "h").titles == {}
    assert here.visits == 0
    assert here._wheel == {}


def test_apps_and_hosts_are_kept_apart(clock: Clock) -> None:
    here = Presence(60, clock=clock)
    here.see(1, "h", "/", "s")
    here.see(2, "h", "/", "s")
    here.see(1, "g", "/", "s")
    assert swept(here) == swept(here, 2) == swept(here, 1, "g") == {"/": 1}
    assert swept(here, 3) == {}


def test_what_was_long_ago_tells_of_nobody(clock: Clock) -> None:
    here = Presence(60, clock=clock)
    here.see(1, "h", "/", "s", ago=60)
    here.see(1, "h", "/", "t", ago=55)
    here.see(1, "h", "/", "u", ago=-3_000)  # from a clock that is ahead
    assert swept(here) == {"/": 2}
    clock.now += 10
    assert swept(here) == {"/": 1}
    clock.now += 52
    assert swept(here) == {}


def test_it_is_bounded_and_says_what_it_turned_away(clock: Clock) -> None:
    here = Presence(60, visits=5, pages=3, clock=clock)
    for number in range(10):
        here.see(1, "h", "/", f"{number}")
    for number in range(10):
        here.see(1, "h", f"/{number}", "s")
    assert swept(here) == {"/": 5}
    assert here.turned_away == 15
    clock.now += 62
    assert swept(here) == {}
    for number in range(10):
        here.see(1, "h", f"/{number}", "s")
    assert len(swept(here)) == 3
    here.see(1, "h", "/" * 5_000, "s")
    assert len(swept(here)) == 3


def test_a_sweep_is_done_in_steps(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "STEP", 10)
    here = Presence(60, clock=clock)
    for number in range(25):
        here.see(1, "h", "/", f"{number}")
    clock.now += 70
    assert [here.sweep(), here.sweep(), here.sweep()] == [True, True, False]
    assert here.visits == 0


Sign = tuple[str, str, int, int]  # page, session, seconds ago, seconds until the next


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"), st.sampled_from("xyz"), st.integers(0, 12), st.integers(0, 6)
        )
    )
)
def test_it_says_what_the_plainest_model_says(signs: list[Sign]) -> None:
    clock = Clock()
    here = Presence(10, clock=clock)
    last: dict[tuple[str, str], float] = {}
    for page, session, ago, pause in signs:
        here.see(1, "h", page, session, ago=ago)
        if ago < 10:
            at = clock.now - ago
            last[page, session] = max(last.get((page, session), at), at)
        clock.now += pause
        found = swept(here)
        last = {key: at for key, at in last.items() if at > clock.now - 10}
        model: dict[str, int] = defaultdict(int)
        for page_there, _ in last:
            model[page_there] += 1
        assert found == model
        assert here.visits == len(last)
