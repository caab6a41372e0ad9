"""The databases: sound, of this version, in step, and of a time that has been."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from checks.finding import Finding, fault, note, well
from settings import call
from store.checkup import Look, look
from store.data_folder import DATABASE, IMAGES, VIEWS

# Events behind which the views of a busy server may be, and bytes that its WAL may have.
BEHIND, WAL = 500_000, 268_435_456
# No clock of a machine that runs this stood before.
BUILT = datetime(2025, 1, 1, tzinfo=UTC)
# Seconds by which the newest event may be ahead of the clock.
AHEAD = 60
# Days without an event after which the clock may be what is wrong.
QUIET = 30


def database(data: Path, now: datetime) -> Iterator[Finding]:
    """All that can be told of the databases in a data folder, by reading them."""
    yield from _clock(now)
    path = data / DATABASE
    if not path.exists():
        rest = [name for name in (VIEWS, IMAGES) if (data / name).exists()]
        if rest:
            words = f"{DATABASE} is gone, and {', '.join(rest)} is there"
            yield fault("database", words, call("restore BACKUP --replace", data))
        elif data.is_dir():
            yield note("database", "there is none yet", f"it is made by: {call('serve', data)}")
        return
    found = look(data)
    if found.faults:
        words = f"{path} is not sound: {'; '.join(found.faults)}"
        yield fault(
            "database", words, f"test the disk; then: {call('restore BACKUP --replace', data)}"
        )
        return
    if found.newer:
        yield fault("database", found.newer, "update the program, or restore an older backup")
        return
    yield well("database", "its pages, its indexes' form and the log's sums are right")
    yield from _rest(path, found, now)


def _rest(path: Path, found: Look, now: datetime) -> Iterator[Finding]:
    if found.pending:
        words = f"{found.pending} changes of its form are due"
        yield note("version", words, "back it up; the next start brings them")
    if found.lost:
        where = path.parent / IMAGES
        words = f"{found.lost:,} banners' images are missing, damaged or unreadable in {where}"
        yield fault(
            "images",
            words,
            "import them again, copy images/ from a backup, or give them to the user who serves",
        )
    resend = "check the disk; have senders repeat their last acknowledged events"
    if found.ahead:
        words = f"{VIEWS} has events that {path.name} has lost, though they were acknowledged"
        yield fault("loss", words, resend)
    elif found.loss is not None:
        at = datetime.fromtimestamp(found.loss / 1e6, UTC)
        words = f"at the start of {at:%Y-%m-%d %H:%M} UTC, acknowledged events were gone"
        yield note("loss", f"{words} (reported for 30 days)", resend)
    if found.views:
        yield note("views", found.views, "they are made anew at the next start")
    elif found.harm:
        words = f"{path.with_name(VIEWS)} is not sound: {found.harm}"
        yield fault("views", words, f"test the disk; make it anew: {call('rebuild', path.parent)}")
    elif found.behind > BEHIND:
        words = f"they are {found.behind:,} events behind the log"
        yield fault(
            "views", words, f"see the log of the server; or: {call('rebuild', path.parent)}"
        )
    else:
        yield well("views", f"{found.behind:,} events behind the log")
    wal = path.with_name(f"{path.name}-wal")
    size = wal.stat().st_size if wal.exists() else 0
    if size > WAL:
        words = f"the write-ahead log has grown to {size // 1_048_576:,} MB"
        yield fault("wal", words, f"end the program that keeps on reading (fuser -v {path})")
    if found.newest is not None:
        received = datetime.fromtimestamp(found.newest / 1e6, UTC)
        ahead = (received - now).total_seconds()
        if ahead > AHEAD:
            words = f"it is {ahead:,.0f} s behind the newest event, which came in at {received}"
            yield fault("clock", words, "set it, and keep it so (timedatectl set-ntp true)")
        elif -ahead > QUIET * 86_400:
            words = f"it says {now:%Y-%m-%d}, and the newest event came in at {received:%Y-%m-%d}"
            yield note("clock", words, "if that is not so, set it (timedatectl set-ntp true)")
        else:
            yield well("clock", f"the newest event came in {-ahead:,.0f} s ago")


def _clock(now: datetime) -> Iterator[Finding]:
    if now < BUILT:
        remedy = "set it, and keep it so (timedatectl set-ntp true)"
        yield fault("clock", f"it says {now:%Y-%m-%d}", remedy)
