"""Standard streams of a command: encoding errors, closed pipes, confirmation prompts."""

import argparse
import io
import os
import select
import signal
import sys
from collections.abc import Callable

from domain.common.formatting import escape_for_terminal
from store.api.errors import StoreRefused

# The status that a shell reports for a program that SIGPIPE ended.
EXIT_BROKEN_PIPE = 128 + signal.SIGPIPE
MAX_WHOLE_NUMBER = 2**63 - 1


def run_command(command: Callable[[], int]) -> int:
    """Run `command`, flush its output and return its exit status.

    Return `EXIT_BROKEN_PIPE` without a message if the reader of stdout or stderr has closed it, as
    in `| head`.
    """
    _escape_unencodable()
    try:
        status = 1
        try:
            status = command()
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except OSError as error:
        is_reader_gone = isinstance(error, BrokenPipeError) and _reader_gone()
        _discard_output()
        if is_reader_gone:
            return EXIT_BROKEN_PIPE
        if sys.stderr is not None:
            sys.stderr.write(f"marquee: cannot write the output: {error.strerror}\n")
        return 1
    return status


def whole_number(text: str) -> int:
    """Parse an argument such as an id: a whole number that fits SQLite's 64-bit integers."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MAX_WHOLE_NUMBER):
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a whole number from 0 to {MAX_WHOLE_NUMBER}"
        )
    return int(text)


def add_yes_option(parser: argparse.ArgumentParser) -> None:
    """Add `--yes` to a command that deletes data."""
    parser.add_argument("--yes", action="store_true", help="delete without asking")


def confirm(arguments: argparse.Namespace, question: str) -> None:
    """Ask for confirmation at a terminal, unless `--yes` was given.

    Raises `StoreRefused` for any answer but yes, and without a terminal.
    """
    if arguments.yes:
        return
    if not (sys.stdin and sys.stdin.isatty() and sys.stderr and sys.stderr.isatty()):
        raise StoreRefused(f"{question} This deletes data: repeat the command with --yes")
    sys.stderr.write(f"{escape_for_terminal(question)} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise StoreRefused("not confirmed; nothing was changed")


def _escape_unencodable() -> None:
    """Write characters that the streams' encoding lacks as `\\xe9` instead of raising an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _reader_gone() -> bool:
    """Return whether stdout or stderr is a pipe or socket without a reader."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _discard_output() -> None:
    """Discard buffered output; Python would otherwise report an error at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(null, descriptor)
    os.close(null)
