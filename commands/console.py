"""Standard streams of a command: encoding errors, closed pipes, questions before deletion."""

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
    """Run `command`, write out what it printed and return its exit status.

    Return `READER_GONE` without a message if the reader of stdout or stderr left, as in `| head`.
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
        gone = isinstance(error, BrokenPipeError) and _reader_gone()
        _discard_output()
        if gone:
            return EXIT_BROKEN_PIPE
        if sys.stderr is not None:
            sys.stderr.write(f"marquee: cannot write the output: {error.strerror}\n")
        return 1
    return status


def whole_number(text: str) -> int:
    """Return an argument that must be a whole number which the store can hold, such as an id."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= MAX_WHOLE_NUMBER):
        raise argparse.ArgumentTypeError(
            f"{text!r} must be a whole number from 0 to {MAX_WHOLE_NUMBER}"
        )
    return int(text)


def add_yes_option(parser: argparse.ArgumentParser) -> None:
    """Add `--yes` to a command that deletes data."""
    parser.add_argument("--yes", action="store_true", help="delete without asking")


def confirm(arguments: argparse.Namespace, question: str) -> None:
    """Ask at a terminal whether to go on, unless `--yes` was given.

    Raises `StoreRefused` for any answer but yes, and where there is nobody to ask.
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
    """Have characters that the streams' encoding lacks written as `\\xe9`, not raise an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _reader_gone() -> bool:
    """Return whether stdout or stderr is a pipe or socket that nobody reads any more."""
    poll = select.poll()
    for descriptor in (1, 2):
        poll.register(descriptor, 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))


def _discard_output() -> None:
    """Drop what is still to be written, or Python would complain when it exits."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream, descriptor in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(null, descriptor)
    os.close(null)
