"""Databases: integrity, version, data loss, projection lag and clock."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from app.settings import command_line
from commands.doctor.finding import DoctorFinding, note, passed, problem
from store.sqlite.backup.integrity_report import IntegrityReport, build_integrity_report
from store.sqlite.core.data_folder import DATABASE_FILE, IMAGES_FOLDER, PROJECTIONS_FILE

# A busy server stays below both.
MAX_LAG_EVENTS, MAX_WAL_BYTES = 500_000, 268_435_456
# Older than this release, so the clock is not set.
EARLIEST_CLOCK = datetime(2025, 1, 1, tzinfo=UTC)
# The newest event may be this far ahead of the clock.
MAX_CLOCK_LAG_SECONDS = 60
# After more days without an event, the clock may be ahead.
MAX_QUIET_DAYS = 30


def check_database(data: Path, now: datetime) -> Iterator[DoctorFinding]:
    """Check the databases of a data folder by reading them."""
    yield from _check_clock(now)
    path = data / DATABASE_FILE
    if not path.exists():
        leftovers = [name for name in (PROJECTIONS_FILE, IMAGES_FOLDER) if (data / name).exists()]
        if leftovers:
            message = f"{DATABASE_FILE} is missing, but {', '.join(leftovers)} exists"
            yield problem("database", message, command_line("restore BACKUP --replace", data))
        elif data.is_dir():
            yield note("database", "not created yet", f"create it: {command_line('serve', data)}")
        return
    report = build_integrity_report(data)
    if report.faults:
        message = f"{path} is corrupt: {'; '.join(report.faults)}"
        yield problem(
            "database",
            message,
            f"test the disk; then: {command_line('restore BACKUP --replace', data)}",
        )
        return
    if report.newer:
        yield problem("database", report.newer, "update the program, or restore an older backup")
        return
    yield passed("database", "pages, indexes and the counts of the event log are intact")
    yield from _report_findings(path, report, now)


def _report_findings(path: Path, report: IntegrityReport, now: datetime) -> Iterator[DoctorFinding]:
    if report.pending:
        message = f"{report.pending} migrations are pending"
        yield note("version", message, "back up; the next start runs them")
    if report.lost:
        folder = path.parent / IMAGES_FOLDER
        message = (
            f"images of {report.lost:,} banners are missing, damaged or unreadable in {folder}"
        )
        yield problem(
            "images",
            message,
            "import them again, copy images/ from a backup, or fix their owner",
        )
    resend = "check the disk; resend the last acknowledged events"
    if report.ahead:
        message = f"{path.name} has lost acknowledged events that {PROJECTIONS_FILE} has counted"
        yield problem("loss", message, resend)
    elif report.loss is not None:
        at = datetime.fromtimestamp(report.loss / 1e6, UTC)
        message = f"acknowledged events were lost before the start of {at:%Y-%m-%d %H:%M} UTC"
        yield note("loss", f"{message} (reported for 30 days)", resend)
    if report.views:
        yield note("projections", report.views, "the next start rebuilds them")
    elif report.harm:
        message = f"{path.with_name(PROJECTIONS_FILE)} is corrupt: {report.harm}"
        yield problem(
            "projections",
            message,
            f"test the disk; rebuild: {command_line('rebuild', path.parent)}",
        )
    elif report.behind > MAX_LAG_EVENTS:
        message = f"{report.behind:,} events behind the log"
        yield problem(
            "projections",
            message,
            f"check the server's log; or rebuild: {command_line('rebuild', path.parent)}",
        )
    else:
        yield passed("projections", f"{report.behind:,} events behind the log")
    wal = path.with_name(f"{path.name}-wal")
    size = wal.stat().st_size if wal.exists() else 0
    if size > MAX_WAL_BYTES:
        message = f"the write-ahead log has {size // 1_048_576:,} MB"
        yield problem(
            "wal", message, f"stop the program with a long read transaction (fuser -v {path})"
        )
    if report.newest is not None:
        received = datetime.fromtimestamp(report.newest / 1e6, UTC)
        ahead = (received - now).total_seconds()
        if ahead > MAX_CLOCK_LAG_SECONDS:
            message = f"{ahead:,.0f} s behind the newest event, received at {received}"
            yield problem(
                "clock", message, "set the clock and enable NTP (timedatectl set-ntp true)"
            )
        elif -ahead > MAX_QUIET_DAYS * 86_400:
            message = f"{now:%Y-%m-%d}, but the newest event was received on {received:%Y-%m-%d}"
            yield note("clock", message, "if the clock is ahead, set it (timedatectl set-ntp true)")
        else:
            yield passed("clock", f"newest event received {-ahead:,.0f} s ago")


def _check_clock(now: datetime) -> Iterator[DoctorFinding]:
    if now < EARLIEST_CLOCK:
        remedy = "set the clock and enable NTP (timedatectl set-ntp true)"
        yield problem("clock", f"not set: {now:%Y-%m-%d}", remedy)
