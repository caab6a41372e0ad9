"""Clock plausibility check: a clock that leapt ahead must not make retention delete data.

A machine may start with a wrong clock, or someone may set it wrong. To the process, that looks the
same as a long shutdown. After such a leap, the clock is trusted only once the server has run for
a day: an operator has had time to correct it.
"""

from typing import NamedTuple

# Longest shutdown after which the clock is trusted at once: a night, with a margin. At worst,
# retention deletes data this much too early.
MAX_TRUSTED_GAP_SECONDS = 36 * 3_600.0
# Running time after which a clock that leapt ahead is trusted.
CLOCK_PROBATION_SECONDS = 24 * 3_600.0


class ClockState(NamedTuple):
    """`believed`: the last trusted time (seconds since 1970), 0 if there is none; `lived`: the
    seconds that the server has run since then with an untrusted clock."""

    believed: float = 0.0
    lived: float = 0.0


UNKNOWN_CLOCK = ClockState()


def next_clock_state(trust: ClockState, now: float, passed: float) -> ClockState:
    """Return the state for the clock reading `now`; `believed` is `now` if it is trusted.

    `passed` is the running time since the last reading, in seconds of a monotonic clock.
    """
    lived = trust.lived + passed
    away = now - trust.believed - lived
    if away <= MAX_TRUSTED_GAP_SECONDS or lived >= CLOCK_PROBATION_SECONDS or not trust.believed:
        return ClockState(now)
    return ClockState(trust.believed, lived)
