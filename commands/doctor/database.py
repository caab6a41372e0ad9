"""The databases: sound, of this version, in step, and of a time that has been."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from app.settings import command_line
from commands.doctor.finding import DoctorFinding, fault, note, ok
from store.sqlite.backup.integrity_report import IntegrityReport, build_integrity_report
from store.sqlite.core.data_folder import DATABASE_FILE, IMAGES_FOLDER, PROJECTIONS_FILE

# Events behind which the views of a busy server may be, and bytes that its WAL may have.
MAX_LAG_EVENTS, MAX_WAL_BYTES = 500_000, 268_435_456
# No clock of a machine that runs this stood before.
EARLIEST_CLOCK = datetime(2025, 1, 1, tzinfo=UTC)
# Seconds by which the newest event may be ahead of the clock.
MAX_CLOCK_LAG_SECONDS = 60
# Days without an event after which the clock may be what is wrong.
MAX_QUIET_DAYS = 30


def check_database(data: Path, now: datetime) -> Iterator[DoctorFinding]:
    """All that can be told of the databases in a data folder, by reading them."""
    yield from _check_clock(now)
    path = data / DATABASE_FILE
    if not path.exists():
        rest = [name for name in (PROJECTIONS_FILE, IMAGES_FOLDER) if (data / name).exists()]
        if rest:
            words = f"{DATABASE_FILE} is gone, and {', '.join(rest)} is there"
            yield fault("database", words, command_line("restore BACKUP --replace", data))
        elif data.is_dir():
            yield note(
                "database", "there is none yet", f"it is made by: {command_line('serve', data)}"
            )
        return
    found = build_integrity_report(data)
    if found.faults:
        words = f"{path} is not sound: {'; '.join(found.faults)}"
        yield fault(
            "database",
            words,
            f"test the disk; then: {command_line('restore BACKUP --replace', data)}",
        )
        return
    if found.newer:
        yield fault("database", found.newer, "update the program, or restore an older backup")
        return
    yield ok("database", "its pages, its indexes' form and the log's sums are right")
    yield from _report_findings(path, found, now)


def _report_findings(path: Path, found: IntegrityReport, now: datetime) -> Iterator[DoctorFinding]:
    if found.pending:
        words = f"{found.pending} changes of its form are due"
        yield note("version", words, "back it up; the next start brings them")
    if found.lost:
        where = path.parent / IMAGES_FOLDER
        words = f"{found.lost:,} banners' images are missing, damaged or unreadable in {where}"
        yield fault(
            "images",
            words,
            "import them again, copy images/ from a backup, or give them to the user who serves",
        )
    resend = "check the disk; have senders repeat their last acknowledged events"
    if found.ahead:
        words = f"{PROJECTIONS_FILE} has acknowledged events that {path.name} has lost"
        yield fault("loss", words, resend)
    elif found.loss is not None:
        at = datetime.fromtimestamp(found.loss / 1e6, UTC)
        words = f"at the start of {at:%Y-%m-%d %H:%M} UTC, acknowledged events were gone"
        yield note("loss", f"{words} (reported for 30 days)", resend)
    if found.views:
        yield note("views", found.views, "they are made anew at the next start")
    elif found.harm:
        words = f"{path.with_name(PROJECTIONS_FILE)} is not sound: {found.harm}"
        yield fault(
            "views", words, f"test the disk; make it anew: {command_line('rebuild', path.parent)}"
        )
    elif found.behind > MAX_LAG_EVENTS:
        words = f"they are {found.behind:,} events behind the log"
        yield fault(
            "views", words, f"see the log of the server; or: {command_line('rebuild', path.parent)}"
        )
    else:
        yield ok("views", f"{found.behind:,} events behind the log")
    wal = path.with_name(f"{path.name}-wal")
    size = wal.stat().st_size if wal.exists() else 0
    if size > MAX_WAL_BYTES:
        words = f"the write-ahead log has grown to {size // 1_048_576:,} MB"
        yield fault("wal", words, f"end the program that keeps on reading (fuser -v {path})")
    if found.newest is not None:
        received = datetime.fromtimestamp(found.newest / 1e6, UTC)
        ahead = (received - now).total_seconds()
        if ahead > MAX_CLOCK_LAG_SECONDS:
            words = f"it is {ahead:,.0f} s behind the newest event, which came in at {received}"
            yield fault("clock", words, "set it, and keep it so (timedatectl set-ntp true)")
        elif -ahead > MAX_QUIET_DAYS * 86_400:
            words = f"it says {now:%Y-%m-%d}, and the newest event came in at {received:%Y-%m-%d}"
            yield note("clock", words, "if that is not so, set it (timedatectl set-ntp true)")
        else:
            yield ok("clock", f"the newest event came in {-ahead:,.0f} s ago")


def _check_clock(now: datetime) -> Iterator[DoctorFinding]:
    if now < EARLIEST_CLOCK:
        remedy = "set it, and keep it so (timedatectl set-ntp true)"
        yield fault("clock", f"it says {now:%Y-%m-%d}", remedy)
