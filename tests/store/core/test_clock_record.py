"""What is known of the clock is kept over restarts."""

from functools import partial
from pathlib import Path

from domain.common.clock_state import ClockState
from store.sqlite.core.clock_record import load_clock_state, save_clock_state
from tests.support.banners.campaign_files import with_database


def test_the_first_start_believes_the_clock_and_the_next_one_knows_it(tmp_path: Path) -> None:
    first = with_database(tmp_path, partial(load_clock_state, now=1_700_000_000.0))
    assert first == ClockState(1_700_000_000.0)
    assert with_database(tmp_path, partial(load_clock_state, now=2_000_000_000.0)) == first


def test_what_was_noted_stays(tmp_path: Path) -> None:
    noted = ClockState(1_700_000_000.0, 60.5)
    with_database(tmp_path, lambda database: save_clock_state(database, noted))
    assert with_database(tmp_path, partial(load_clock_state, now=2_000_000_000.0)) == noted
