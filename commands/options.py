"""Command-line options generated from the settings."""

import argparse
import os
from typing import Any

from app.settings import SETTING_NAMES, Settings, resolve_settings, settings_table

# Settings that every command accepts.
COMMON_SETTINGS = ("data", "log_level", "log_format")


def common_parser() -> argparse.ArgumentParser:
    """Return the parent parser with the options of all commands."""
    parser = argparse.ArgumentParser(add_help=False)
    for name in COMMON_SETTINGS:
        add_setting(parser, name)
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings")
    parser.add_argument("--json", action="store_true", help="print the result as a JSON object")
    return parser


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the settings that not all commands accept."""
    for name in SETTING_NAMES:
        if name not in COMMON_SETTINGS:
            add_setting(parser, name)


def add_setting(parser: argparse.ArgumentParser, setting: str) -> None:
    """Add a setting as an option without default, because other sources may set it."""
    name, kind, default, description, choices = next(
        row for row in settings_table() if row[0] == setting
    )
    options: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
    if kind is bool:
        options["action"] = argparse.BooleanOptionalAction
        options["help"] = description
    else:
        shown = "none" if default == "" else default
        options["help"] = f"{description} ({shown})"
        options["metavar"] = None if choices else kind.__name__.upper()
        options["choices"] = choices or None
    parser.add_argument(f"--{name.replace('_', '-')}", **options)


def parse_settings(arguments: argparse.Namespace) -> Settings:
    """Return the settings of all sources; raise `SettingError` if one is invalid."""
    given = {name: value for name, value in vars(arguments).items() if name in SETTING_NAMES}
    return resolve_settings(given, os.environ, arguments.config)
