"""Who is where: within the window, within bounds, as the plainest model has it."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.cache import active_visitors
from store.cache.active_visitors import ActiveVisitors


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def swept(here: ActiveVisitors, app: int = 1, host: str = "h") -> dict[str, int]:
    while here.sweep():
        pass
    return dict(here.reading(app, host).visitors)


def test_a_visitor_is_there_until_not_seen_for_long(clock: Clock) -> None:
    here = ActiveVisitors(60, clock=clock)
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
    assert here._due == here._apps == {}


def test_apps_and_hosts_are_kept_apart(clock: Clock) -> None:
    here = ActiveVisitors(60, clock=clock)
    here.see(1, "h", "/", "s")
    here.see(2, "h", "/", "s")
    here.see(1, "g", "/", "s")
    assert swept(here) == swept(here, 2) == swept(here, 1, "g") == {"/": 1}
    assert swept(here, 3) == {}


def test_what_was_long_ago_tells_of_nobody(clock: Clock) -> None:
    here = ActiveVisitors(60, clock=clock)
    here.see(1, "h", "/", "s", ago=60)
    here.see(1, "h", "/", "t", ago=55)
    here.see(1, "h", "/", "u", ago=-3_000)  # from a clock that is ahead
    assert swept(here) == {"/": 2}
    clock.now += 10
    assert swept(here) == {"/": 1}
    clock.now += 52
    assert swept(here) == {}


def test_it_is_bounded_and_says_what_it_turned_away(clock: Clock) -> None:
    here = ActiveVisitors(60, visits=5, pages=3, clock=clock)
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


def visitors_of(here: ActiveVisitors, app: int, host: str = "h") -> int:
    return sum(here.reading(app, host).visitors.values())


def test_an_app_that_fills_the_bound_loses_visits_to_others_but_not_to_itself(clock: Clock) -> None:
    here = ActiveVisitors(60, visits=1_000, clock=clock)
    for number in range(3):
        here.see(1, "h", "/", f"{number}")
    for number in range(5_000):
        here.see(2, "flood", f"/{number % 50}", f"{number}")
    assert visitors_of(here, 1) == 3
    for number in range(400):
        here.see(1, "h", f"/{number % 9}", f"later {number}")
        here.see(3, "h", "/", f"{number}")
    assert visitors_of(here, 1) == pytest.approx(333, abs=1)
    assert visitors_of(here, 2, "flood") == pytest.approx(333, abs=1)
    assert visitors_of(here, 3) == pytest.approx(333, abs=1)
    assert here.visits == 1_000
    assert here.displaced == pytest.approx(663, abs=3)
    assert here.turned_away == 3 + 5_000 + 800 - 1_000 - here.displaced
    clock.now += 62
    while here.sweep():
        pass
    assert here.visits == 0
    assert here._apps == here._due == {}


def test_a_host_that_fills_its_apps_share_loses_visits_to_the_apps_other_hosts(
    clock: Clock,
) -> None:
    here = ActiveVisitors(60, visits=100, clock=clock)
    for number in range(500):
        here.see(1, "flood", "/", f"{number}")
    for number in range(500):
        here.see(1, "shop", "/", f"{number}")
    assert visitors_of(here, 1, "flood") == visitors_of(here, 1, "shop") == 50
    # A visitor that was displaced comes back like any other.
    clock.now += 30
    here.see(2, "h", "/", "s")
    assert visitors_of(here, 2) == 1


def test_visits_that_displace_each_other_leave_nothing_behind(clock: Clock) -> None:
    here = ActiveVisitors(60, visits=10, clock=clock)
    for number in range(2_000):
        here.see(number % 3, "h", f"/{number % 7}", f"{number % 5}")
        clock.now += 0.01
    entries = sum(
        len(second)
        for app in here._apps.values()
        for audience in app.hosts.values()
        for second in audience.wheel.values()
    )
    assert entries == 2 * here.visits == 20
    assert sum(visitors_of(here, app) for app in range(3)) == 10
    clock.now += 70
    here.sweep()
    assert here._apps == here._due == {}


def test_a_sweep_is_done_in_steps(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active_visitors, "SWEEP_STEP_VISITS", 10)
    here = ActiveVisitors(60, clock=clock)
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
    here = ActiveVisitors(10, clock=clock)
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
