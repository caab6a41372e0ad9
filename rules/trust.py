"""Whether the clock is to be believed, where what is old by it would go for good.

A machine may start with a wrong clock, or be set wrong while it runs. From within, that looks like
a machine that was away. So a clock that says that long has passed in which nothing ran has to be
lived with for a day before it is believed: by then somebody has looked, or it was right.
"""

from typing import NamedTuple

# For so long a machine may be away, and its clock be believed at once: a night, and more. So much
# too early may what is old go, at worst.
AWAY = 36 * 3_600.0
# So long a clock is lived with until it is believed.
PROBATION = 24 * 3_600.0


class Trust(NamedTuple):
    """What is known of a clock: the time (seconds since 1970) that was `believed` last, 0 for none,
    and for how many seconds it was `lived` with since, without being believed."""

    believed: float = 0.0
    lived: float = 0.0


UNKNOWN = Trust()


def judge(trust: Trust, now: float, passed: float) -> Trust:
    """What is known once the clock says `now`, with `passed` seconds lived since it was last asked.

    `now` is `believed` then, or not.
    """
    lived = trust.lived + passed
    away = now - trust.believed - lived
    if away <= AWAY or lived >= PROBATION or not trust.believed:
        return Trust(now)
    return Trust(trust.believed, lived)
