"""Write the diagrams of the documentation: python docs/diagrams.py

Each diagram is a list of boxes and arrows, and becomes two SVG files: `NAME-light.svg` and
`NAME-dark.svg`.
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).resolve().parent
LINE_HEIGHT = 17
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"


class Palette(NamedTuple):
    """Colours of a diagram."""

    page: str
    text: str
    muted: str
    line: str
    fills: dict[str, str]


PALETTES = {
    "light": Palette(
        "#ffffff",
        "#1f2328",
        "#59636e",
        "#818b98",
        {
            "outside": "#f6f8fa",
            "fast": "#ddf4ff",
            "control": "#fff8c5",
            "work": "#dafbe1",
            "disk": "#fbefff",
        },
    ),
    "dark": Palette(
        "#0d1117",
        "#f0f6fc",
        "#9198a1",
        "#656c76",
        {
            "outside": "#151b23",
            "fast": "#10263f",
            "control": "#332a10",
            "work": "#12291a",
            "disk": "#2a1d3d",
        },
    ),
}


class Box(NamedTuple):
    """A part of the system; the first line is its name. `x` and `y` are its upper left corner."""

    x: int
    y: int
    width: int
    height: int
    kind: str
    lines: tuple[str, ...]


class Arrow(NamedTuple):
    """A line through `points` with a head at its end; `label` stands at `at`."""

    points: tuple[tuple[int, int], ...]
    label: str = ""
    at: tuple[int, int] = (0, 0)
    both: bool = False


class Diagram(NamedTuple):
    """A drawing; `title` and `description` are for screen readers."""

    title: str
    description: str
    width: int
    height: int
    parts: tuple[Box | Arrow, ...]


DIAGRAMS = {
    "architecture": Diagram(
        "Architecture of Marquee",
        "Browsers, apps, trusted servers and the owner reach one process through an HTTP server. "
        "Fast routes answer mostly from memory; the control plane runs on Tornado handlers. "
        "Appends go through the group commit into marquee.db, and background workers derive "
        "views.db from it.",
        960,
        560,
        (
            Box(20, 20, 215, 62, "outside", ("Browsers", "banner pages, clicks, beacon")),
            Box(255, 20, 215, 62, "outside", ("Mobile and web apps", "stories, story events")),
            Box(490, 20, 215, 62, "outside", ("Trusted servers", "events, conversions")),
            Box(725, 20, 215, 62, "outside", ("Owner", "/admin/, command line")),
            Arrow(((127, 82), (127, 132))),
            Arrow(((362, 82), (362, 132))),
            Arrow(((597, 82), (597, 132))),
            Arrow(((790, 82), (790, 132))),
            Box(
                20,
                132,
                800,
                62,
                "outside",
                (
                    "httpserver",
                    "HTTP/1.1 parser, TLS, timeouts, memory budget, fair queue by client address",
                ),
            ),
            Arrow(((240, 194), (240, 236)), "fast routes", (250, 220)),
            Arrow(((660, 194), (660, 236)), "everything else", (670, 220)),
            Box(
                20,
                236,
                440,
                80,
                "fast",
                (
                    "Data plane",
                    "page, click, image, stories, events, beacon, /healthz",
                    "without Tornado, mostly from memory",
                ),
            ),
            Box(
                500,
                236,
                320,
                80,
                "control",
                (
                    "Control plane (Tornado)",
                    "queries, exports, /admin/, docs, metrics",
                    "at most four requests start per turn",
                ),
            ),
            Arrow(((915, 82), (915, 470), (782, 470)), "command line", (795, 462)),
            Arrow(((150, 316), (150, 358)), "append", (160, 342)),
            Box(
                20,
                358,
                210,
                80,
                "work",
                ("Group commit", "what arrives during a commit", "forms the next one"),
            ),
            Box(
                250,
                358,
                210,
                80,
                "work",
                ("Caches in memory", "prepared pages, stories,", "active visitors"),
            ),
            Arrow(((355, 358), (355, 316))),
            Box(
                500,
                358,
                320,
                62,
                "work",
                ("Background workers", "slots, projections, host poller, retention"),
            ),
            Arrow(((500, 389), (460, 389))),
            Arrow(((660, 316), (660, 358))),
            Box(
                20,
                480,
                210,
                62,
                "disk",
                ("marquee.db", "event log and all settings"),
            ),
            Arrow(((125, 438), (125, 480)), "commit and sync", (135, 464)),
            Arrow(((230, 511), (250, 511))),
            Box(250, 480, 210, 62, "disk", ("views.db", "projections, disposable")),
            Arrow(((540, 420), (540, 511), (460, 511)), "update", (550, 500)),
            Box(600, 440, 182, 62, "control", ("Commands", "over the control socket")),
            Arrow(((691, 440), (691, 420))),
        ),
    ),
    "event-log": Diagram(
        "Life of an event",
        "A request is checked before its body is read, then validated, appended, committed and "
        "acknowledged. Projections follow in the background; queries read projections and the "
        "tail of the log.",
        960,
        330,
        (
            Box(
                20, 30, 160, 80, "outside", ("POST /events", "token, scope,", "room for the body?")
            ),
            Arrow(((180, 70), (220, 70))),
            Box(220, 30, 160, 80, "fast", ("Validate", "strict JSON,", "event schema")),
            Arrow(((380, 70), (420, 70)), "valid", (384, 60)),
            Box(
                420,
                30,
                160,
                80,
                "work",
                ("Group commit", "sender_id seen before?", "queue bounded"),
            ),
            Arrow(((580, 70), (620, 70))),
            Box(620, 30, 160, 80, "disk", ("marquee.db", "COMMIT, fdatasync", "synchronous=FULL")),
            Arrow(((780, 70), (820, 70))),
            Box(820, 30, 120, 80, "outside", ("202", "id of the", "event")),
            Arrow(((100, 110), (100, 160)), "no", (108, 142)),
            Box(20, 160, 160, 62, "outside", ("401, 403, 413, 503", "refused, not stored")),
            Arrow(((300, 110), (300, 160)), "invalid", (308, 142)),
            Box(220, 160, 160, 62, "disk", ("Rejected event", "kept, can be replayed")),
            Arrow(((700, 110), (700, 160)), "next rows", (708, 142)),
            Box(620, 160, 160, 62, "work", ("Projection worker", "SQL over the new rows")),
            Arrow(((700, 222), (700, 260))),
            Box(620, 260, 160, 50, "disk", ("views.db", "with its checkpoint")),
            Box(420, 210, 160, 62, "control", ("Queries", "projections, log tail")),
            Arrow(((620, 285), (600, 285), (600, 250), (580, 250))),
            Arrow(((640, 110), (640, 135), (500, 135), (500, 210)), "tail", (508, 160)),
        ),
    ),
}


def svg(diagram: Diagram, palette: Palette) -> str:
    """Return the diagram as an SVG document."""
    width, height = diagram.width, diagram.height
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img" font-family="{escape(FONT)}" font-size="13">'
    )
    lines = [
        head,
        f"<title>{escape(diagram.title)}</title>",
        f"<desc>{escape(diagram.description)}</desc>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto-start-reverse">'
        f'<path d="M0 0L8 4L0 8z" fill="{palette.line}"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="{palette.page}"/>',
    ]
    for part in diagram.parts:
        lines += _box(part, palette) if isinstance(part, Box) else _arrow(part, palette)
    return "\n".join([*lines, "</svg>", ""])


def _box(box: Box, palette: Palette) -> Iterator[str]:
    fill = palette.fills[box.kind]
    yield (
        f'<rect x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="6" '
        f'fill="{fill}" stroke="{palette.line}"/>'
    )
    middle = box.x + box.width // 2
    first = box.y + (box.height - LINE_HEIGHT * len(box.lines)) // 2 + 13
    for number, line in enumerate(box.lines):
        style = f'fill="{palette.text}" font-weight="600"' if not number else ""
        style = style or f'fill="{palette.muted}"'
        yield (
            f'<text x="{middle}" y="{first + LINE_HEIGHT * number}" text-anchor="middle" '
            f"{style}>{escape(line)}</text>"
        )


def _arrow(arrow: Arrow, palette: Palette) -> Iterator[str]:
    points = " ".join(f"{x},{y}" for x, y in arrow.points)
    start = ' marker-start="url(#head)"' if arrow.both else ""
    yield (
        f'<polyline points="{points}" fill="none" stroke="{palette.line}"{start} '
        'marker-end="url(#head)"/>'
    )
    if arrow.label:
        x, y = arrow.at
        yield f'<text x="{x}" y="{y}" fill="{palette.muted}">{escape(arrow.label)}</text>'


def files() -> dict[str, str]:
    """Return the content of each file by its name."""
    return {
        f"{name}-{theme}.svg": svg(diagram, palette)
        for name, diagram in DIAGRAMS.items()
        for theme, palette in PALETTES.items()
    }


def main() -> None:
    for name, text in files().items():
        (FOLDER / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
