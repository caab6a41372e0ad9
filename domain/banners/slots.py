"""Slots: the quarters of a local hour, 1 to 4, and the periods of UTC time in which they run."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

SLOTS = (1, 2, 3, 4)
SLOT_LENGTH = timedelta(minutes=15)
CLOCK_RESOLUTION = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class SlotPeriod:
    """An unbroken run of one slot: from `start` until just before `end`, both in UTC."""

    slot: int
    start: datetime
    end: datetime


def slot_at(moment: datetime, zone: tzinfo) -> int:
    """The slot that runs in `zone` at `moment`: local minute // 15 + 1, so minute 15 is slot 2.

    Raises `ValueError` for a moment without a zone of its own.
    """
    return _to_local(moment, zone).minute // 15 + 1


def period_at(moment: datetime, zone: tzinfo) -> SlotPeriod:
    """The period that runs in `zone` at `moment`; the next one is that at its `end`.

    A quarter of an hour, but where clocks are put forward or back within one it is as long as
    the slot really goes on. Raises `ValueError` for a moment without a zone of its own.
    """
    slot = slot_at(moment, zone)
    end = _next_boundary(moment.astimezone(UTC), zone)
    while slot_at(end, zone) == slot:
        end = _next_boundary(end, zone)
    start = _last_boundary(moment.astimezone(UTC), zone)
    while slot_at(start - CLOCK_RESOLUTION, zone) == slot:
        start = _last_boundary(start - CLOCK_RESOLUTION, zone)
    return SlotPeriod(slot, start, end)


def current_or_next_period(slot: int, moment: datetime, zone: tzinfo) -> SlotPeriod:
    """The period of `slot` that runs at `moment`, or else the next one.

    Raises `ValueError` for a slot that is none, or a moment without a zone of its own.
    """
    if slot not in SLOTS:
        raise ValueError(f"a slot is 1, 2, 3 or 4, not {slot}")
    period = period_at(moment, zone)
    while period.slot != slot:
        period = period_at(period.end, zone)
    return period


def _to_local(moment: datetime, zone: tzinfo) -> datetime:
    if moment.utcoffset() is None:
        raise ValueError(f"a moment needs a time zone: {moment.isoformat()}")
    return moment.astimezone(zone)


def _next_boundary(moment: datetime, zone: tzinfo) -> datetime:
    """The first moment after this one at which a local quarter begins or the offset changes."""
    end = moment - _time_into_slot(moment, zone) + SLOT_LENGTH
    return _utc_offset_change(moment, end, zone) or end


def _last_boundary(moment: datetime, zone: tzinfo) -> datetime:
    """The last moment, this one included, at which a local quarter began or the offset changed."""
    start = moment - _time_into_slot(moment, zone)
    return _utc_offset_change(start, moment, zone) or start


def _time_into_slot(moment: datetime, zone: tzinfo) -> timedelta:
    local = _to_local(moment, zone)
    return timedelta(
        minutes=local.minute % 15, seconds=local.second, microseconds=local.microsecond
    )


def _utc_offset_change(before: datetime, after: datetime, zone: tzinfo) -> datetime | None:
    """When the zone's offset became what it is at `after`, if it was another at `before`."""
    old = before.astimezone(zone).utcoffset()
    if after.astimezone(zone).utcoffset() == old:
        return None
    while after - before > CLOCK_RESOLUTION:
        middle = before + (after - before) // 2
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after
