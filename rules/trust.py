"""Whether the clock is to be believed, where what is old by it would go for good.

A machine may start with a wrong clock, or be set wrong while it runs. Neither can be told from one
that was away, or that was set right. So whatever goes ahead by more than was lived through has to
last for a while before it is believed: by then somebody has looked, or it was right.
"""

from typing import NamedTuple

# Ahead by so much more than the time that has passed (seconds), a clock has leapt.
LEAP = 3_600.0
# So long may a machine be away, and its clock be believed at once.
AWAY = 30 * 86_400.0
# So long a clock that is doubted has to go on, without being set back, until it is believed.
PROBATION = 86_400.0


class Trust(NamedTuple):
    """What is known of a clock, in seconds since 1970 by itself; 0 for never.

    `believed` is the last time that was believed, `doubted` when the doubt of today began.
    """

    believed: float = 0.0
    doubted: float = 0.0


UNKNOWN = Trust()


def judge(trust: Trust, now: float, leapt: float = 0.0) -> Trust:
    """What is known once the clock says `now`, `leapt` seconds ahead of the time that has passed.

    Also a clock that was off meanwhile goes on with its doubt: a machine that is on for hours only
    would never come to its end otherwise.
    """
    doubted = trust.doubted if trust.doubted <= now else 0.0  # set back: a doubt of another clock
    last = max(trust.believed, doubted)
    if leapt > LEAP or (last and now - last > AWAY):
        return Trust(trust.believed, now)
    if doubted and now - doubted < PROBATION:
        return Trust(trust.believed, doubted)
    return Trust(now)
