"""Where an uploaded file goes in a campaign folder, by its name: nowhere else, whatever it says."""

import re

# A file of rows tells its quarter by its name; where a folder 1 to 4 is named, too, they agree.
ROWS = re.compile(r"(?:clicks|conversions|impressions)_([1-4])\.csv", re.ASCII)
IMAGE = re.compile(r"image_\d{1,19}\.\w{1,5}", re.ASCII)
TARGETS = "targets.csv"
SLOT = re.compile("[1-4]", re.ASCII)
# What programs leave in folders and archives, which is nobody's mistake.
LITTER = re.compile(r"(?:\.[^.].*|__MACOSX|Thumbs\.db|desktop\.ini)", re.ASCII)


def place(said: str) -> str | None:
    """The path in the folder for a file that came as `said`, folders and all; None for none."""
    *folders, name = said.replace("\\", "/").split("/")
    named = next((each for each in reversed(folders) if SLOT.fullmatch(each)), None)
    if rows := ROWS.fullmatch(name):
        return f"{rows[1]}/{name}" if named in (None, rows[1]) else None
    within = f"{named}/" if named else ""
    if name == TARGETS:
        return within + name
    return f"{within}images/{name}" if IMAGE.fullmatch(name) else None


def litter(said: str) -> bool:
    """Whether nobody meant to send this file."""
    return any(LITTER.fullmatch(part) for part in said.replace("\\", "/").split("/"))
