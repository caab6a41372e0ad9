"""Whether the clock is to be believed, where what is old by it would go for good.

A machine may start with a wrong clock, or be set wrong while it runs. From within, that looks like
a machine that was away. So a clock that says that long has passed in which nothing ran has to be
lived with for a day before it is believed: by then somebody has looked, or it was right.
"""

from typing import NamedTuple

# For so long a machine may be away, and its clock be believed at once: a night, and more. So much
# too early may what is old go, at worst.
MAX_TRUSTED_GAP_SECONDS = 36 * 3_600.0
# So long a clock is lived with until it is believed.
CLOCK_PROBATION_SECONDS = 24 * 3_600.0


class ClockState(NamedTuple):
    """What is known of a clock: the time (seconds since 1970) that was `believed` last, 0 for none,
    and for how many seconds it was `lived` with since, without being believed."""

    believed: float = 0.0
    lived: float = 0.0


UNKNOWN_CLOCK = ClockState()


def next_clock_state(trust: ClockState, now: float, passed: float) -> ClockState:
    """What is known once the clock says `now`, with `passed` seconds lived since it was last asked.

    `now` is `believed` then, or not.
    """
    lived = trust.lived + passed
    away = now - trust.believed - lived
    if away <= MAX_TRUSTED_GAP_SECONDS or lived >= CLOCK_PROBATION_SECONDS or not trust.believed:
        return ClockState(now)
    return ClockState(trust.believed, lived)
