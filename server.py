"""Marquee: banners, stories, events, rising pages and daily users from one process.

The entry point: it parses the arguments and runs a command, or serves the features listed here.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial

try:
    import uvloop
except ModuleNotFoundError as error:
    install = "run `make install`, then: .venv/bin/python server.py"
    sys.exit(f"marquee: this Python has no {error.name}: {install}")

from app import admin, audience, banners, events, lifecycle, logging_setup, operations, stories
from app.settings import SettingError, Settings, command_line, service_links
from commands import console, options
from commands.parser import build_parser
from domain.common.formatting import escape_for_terminal
from store.api.errors import StoreError

LOG = logging.getLogger("marquee")
FEATURES = (
    banners.build,
    stories.build,
    events.build,
    audience.build,
    admin.build,
    operations.build,
)


def main(words: Sequence[str]) -> int:
    """Run the command line `words`; return the exit status.

    0 success, 1 failure, 2 invalid arguments, 130 interrupted by Ctrl-C, 141 the reader of the
    output has closed it.
    """
    return console.run_command(partial(_main, words))


def _main(words: Sequence[str]) -> int:
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help")):
        words = ["serve", *words]
    arguments = build_parser().parse_args(words)
    settings = Settings()  # the data folder in error messages, until settings are read
    try:
        settings = options.parse_settings(arguments)
        logging_setup.configure_logging(settings.log_level, settings.log_format)
        if arguments.command == "serve":
            return _serve(settings, arguments.json)
        status: int = arguments.run(arguments, settings)
        return status
    except SettingError as error:
        print(f"marquee: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise  # `console.run_command` handles errors of the output
    except (StoreError, OSError) as error:
        print(f"marquee: {escape_for_terminal(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("marquee: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except Exception as error:  # a corrupt disk can lead to any
        LOG.critical("unexpected error", exc_info=error)
        doctor = command_line("doctor", settings.data)
        print(f"marquee: unexpected error: {error}; check with: {doctor}", file=sys.stderr)
        return 1


def _serve(settings: Settings, as_json: bool) -> int:
    if linked := service_links(os.environ):
        LOG.info("ignored service link variables names=%s", ",".join(linked))
    make_loop = uvloop.new_event_loop if settings.loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=make_loop) as runner:
        return runner.run(lifecycle.serve(settings, FEATURES, as_json))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
