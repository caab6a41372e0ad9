"""The options that commands share, made from the table of settings."""

import argparse
import os
from typing import Any

from app.settings import SETTING_NAMES, Settings, resolve_settings, settings_table

# What every command takes.
COMMON_SETTINGS = ("data", "log_level", "log_format")


def common_parser() -> argparse.ArgumentParser:
    """A parent of every command's parser: where the state is, where settings are."""
    parser = argparse.ArgumentParser(add_help=False)
    for name in COMMON_SETTINGS:
        add_setting(parser, name)
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings")
    parser.add_argument("--json", action="store_true", help="print the result as a JSON object")
    return parser


def add_settings(parser: argparse.ArgumentParser) -> None:
    """All settings that are not shared by all commands."""
    for name in SETTING_NAMES:
        if name not in COMMON_SETTINGS:
            add_setting(parser, name)


def add_setting(parser: argparse.ArgumentParser, wanted: str) -> None:
    """One setting as an option; what is not said stays unset, as other sources may say it."""
    name, kind, default, description, choices = next(
        row for row in settings_table() if row[0] == wanted
    )
    words: dict[str, Any] = {"dest": name, "default": argparse.SUPPRESS}
    if kind is bool:
        words["action"] = argparse.BooleanOptionalAction
        words["help"] = description
    else:
        shown = "none" if default == "" else default
        words["help"] = f"{description} ({shown})"
        words["metavar"] = None if choices else kind.__name__.upper()
        words["choices"] = choices or None
    parser.add_argument(f"--{name.replace('_', '-')}", **words)


def parse_settings(arguments: argparse.Namespace) -> Settings:
    """The settings from the command line and the other sources; raises `SettingError`."""
    said = {name: value for name, value in vars(arguments).items() if name in SETTING_NAMES}
    return resolve_settings(said, os.environ, arguments.config)
