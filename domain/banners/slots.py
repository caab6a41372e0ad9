"""Slots: the quarters of a local hour, 1 to 4, and the UTC periods in which they run."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

SLOTS = (1, 2, 3, 4)
SLOT_LENGTH = timedelta(minutes=15)
CLOCK_RESOLUTION = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class SlotPeriod:
    """An unbroken run of one slot, from `start` up to but excluding `end`, both in UTC."""

    slot: int
    start: datetime
    end: datetime


def slot_at(moment: datetime, zone: tzinfo) -> int:
    """Return the slot at `moment` in `zone`: local minute // 15 + 1, so minute 15 is slot 2.

    Raises `ValueError` if `moment` has no time zone.
    """
    return _to_local(moment, zone).minute // 15 + 1


def period_at(moment: datetime, zone: tzinfo) -> SlotPeriod:
    """Return the slot period at `moment` in `zone`; the next one begins at its `end`.

    It lasts 15 minutes, or shorter or longer where the UTC offset changes within it. Raises
    `ValueError` if `moment` has no time zone.
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
    """Return the period of `slot` at `moment`, or else its next one.

    Raises `ValueError` if `slot` is invalid or `moment` has no time zone.
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
    """Return when, after `moment`, the next local slot begins or the UTC offset changes."""
    end = moment - _time_into_slot(moment, zone) + SLOT_LENGTH
    return _utc_offset_change(moment, end, zone) or end


def _last_boundary(moment: datetime, zone: tzinfo) -> datetime:
    """Return when, up to `moment`, a local slot last began or the UTC offset last changed."""
    start = moment - _time_into_slot(moment, zone)
    return _utc_offset_change(start, moment, zone) or start


def _time_into_slot(moment: datetime, zone: tzinfo) -> timedelta:
    local = _to_local(moment, zone)
    return timedelta(
        minutes=local.minute % 15, seconds=local.second, microseconds=local.microsecond
    )


def _utc_offset_change(before: datetime, after: datetime, zone: tzinfo) -> datetime | None:
    """Return when the UTC offset of `zone` changed between two moments; None if it did not."""
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
