"""Geometric drawings for banners, as SVG of about 440 by 460 units centred on (0, 0)."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Palette:
    """A colour scheme; `ink` is readable on `ground`, `deep` is dark and `paper` light."""

    ground: tuple[str, str]  # a gradient from the upper left to the lower right
    ink: str
    accent: str
    second: str
    soft: str
    paper: str
    deep: str


Scene = Callable[[Palette, Random], str]


def coffee(palette: Palette, rng: Random) -> str:
    """Draw a cup of coffee from above, with latte art and beans."""
    leaf = "".join(
        f'<path d="M0 {30 - 26 * row}c{w} -14 {w} -44 0 -30c-{w} -14 -{w} 16 0 30z"/>'
        for row, w in enumerate((74, 62, 46, 30))
    )
    beans = "".join(
        f'<g transform="rotate({turn + rng.randrange(-8, 9)}) translate(232) '
        f'rotate({rng.randrange(180)})">'
        f'<ellipse rx="26" ry="17" fill="{palette.deep}"/>'
        f'<path d="M-24 0q12 -12 24 0t24 0" fill="none" stroke="{palette.soft}" stroke-width="4"/>'
        "</g>"
        for turn in (128, 152, 176, 214)
    )
    return (
        f'{beans}<circle r="196" fill="{palette.paper}"/>'
        f'<circle r="164" fill="none" stroke="{palette.soft}" stroke-width="3"/>'
        f'<g transform="rotate({rng.randrange(-50, -20)})">'
        f'<rect x="90" y="-22" width="112" height="44" rx="22" fill="{palette.accent}"/></g>'
        f'<circle r="132" fill="{palette.accent}"/><circle r="112" fill="{palette.deep}"/>'
        f'<g fill="{palette.paper}" transform="rotate({rng.randrange(-30, 30)}) '
        f'translate(0 24)">{leaf}</g>'
    )


def bicycle(palette: Palette, rng: Random) -> str:
    """Draw a bicycle in front of a low sun."""
    spokes = "".join(
        f'<path d="M0 -90V90" transform="rotate({turn})"/>' for turn in range(0, 180, 20)
    )
    wheel = (
        f'<g stroke="{palette.second}" stroke-width="2">{spokes}</g>'
        f'<circle r="92" fill="none" stroke="{palette.deep}" stroke-width="11"/>'
        f'<circle r="11" fill="{palette.deep}"/>'
    )
    high = rng.randrange(-70, -30)
    return (
        f'<circle cx="{rng.randrange(-40, 60)}" cy="{high}" r="176" fill="{palette.soft}"/>'
        f'<path d="M-300 176H300" stroke="{palette.deep}" stroke-width="5" '
        f'stroke-linecap="round" stroke-dasharray="220 26 60 26"/>'
        f'<g transform="translate(-122 78)">{wheel}</g><g transform="translate(128 78)">{wheel}</g>'
        '<g fill="none" stroke-linecap="round" stroke-linejoin="round">'
        f'<path d="M-122 78L-52 -48H88L-10 78H-122M-10 78L-64 -76M128 78L80 -84" '
        f'stroke="{palette.accent}" stroke-width="13"/>'
        f'<path d="M-98 -80H-34M80 -84L70 -112H112q22 4 20 26" stroke="{palette.deep}" '
        'stroke-width="13"/></g>'
        f'<circle cx="-10" cy="78" r="24" fill="{palette.paper}" stroke="{palette.deep}" '
        'stroke-width="8"/>'
    )


def paper(palette: Palette, rng: Random) -> str:
    """Draw a fan of sheets, with writing on the first, and a pencil."""
    sheets = "".join(
        f'<rect x="-120" y="-165" width="240" height="330" rx="10" fill="{fill}" '
        f'transform="rotate({turn} -60 220)"/>'
        for turn, fill in (
            (27, palette.second),
            (16, palette.accent),
            (5, palette.soft),
        )
    )
    lines = "".join(
        f'<path d="M-84 {y}h{rng.choice((168, 150, 128, 160))}"/>' for y in range(-62, 130, 32)
    )
    return (
        f'<g transform="translate(-34 -6)">{sheets}<g transform="rotate(-7 -60 220)">'
        f'<path d="M-110 -165H72L120 -117V155q0 10 -10 10H-110q-10 0 -10 -10V-155q0 -10 10 -10z" '
        f'fill="{palette.paper}"/><path d="M72 -165V-117H120z" fill="{palette.soft}"/>'
        f'<path d="M-84 -116h96" stroke="{palette.accent}" stroke-width="16"/>'
        f'<g stroke="{palette.deep}" stroke-opacity=".55" stroke-width="6" '
        f'stroke-linecap="round">{lines}</g></g>'
        f'<g transform="translate(96 60) rotate({rng.randrange(24, 40)})">'
        f'<path d="M-15 -200H15V130L0 172L-15 130z" fill="{palette.accent}"/>'
        f'<path d="M-15 130H15L0 172z" fill="{palette.paper}"/>'
        f'<path d="M-5 158H5L0 172z" fill="{palette.deep}"/>'
        f'<path d="M-15 -200H15V-172H-15z" fill="{palette.deep}"/></g></g>'
    )


def rail(palette: Palette, rng: Random) -> str:
    """Draw a train on a viaduct in front of hills, seen through a train window."""
    arches = "".join(
        f'<path d="M{x} 290V150a36 36 0 0 1 72 0V290z"/>' for x in range(-260, 250, 96)
    )
    windows = "".join(
        f'<rect x="{x}" y="20" width="34" height="28" rx="5"/>' for x in range(-52, 230, 48)
    )
    hill = rng.randrange(-60, 20)
    return _clip_to_frame(
        "M-150 -220H150a58 58 0 0 1 58 58V162a58 58 0 0 1 -58 58H-150a58 58 0 0 1 -58 -58V-162"
        "a58 58 0 0 1 58 -58z",
        palette.paper,
        f'<circle cx="{rng.randrange(-110, 110)}" cy="-104" r="58" fill="{palette.accent}"/>'
        f'<path d="M-280 -20Q-160 {hill - 130} 20 -44V290H-280z" fill="{palette.soft}"/>'
        f'<path d="M-60 -20Q120 {-150 - hill} 280 -30V290H-60z" fill="{palette.soft}"/>'
        f'<path d="M-280 20Q-200 {hill + 10} -100 66T280 90V290H-280z" fill="{palette.second}"/>'
        f'<path d="M-280 84H280V290H-280z" fill="{palette.deep}"/>'
        f'<g fill="{palette.second}">{arches}</g>'
        f'<path d="M-280 84H280" stroke="{palette.deep}" stroke-width="16"/>'
        f'<path d="M-136 78Q-130 0 -52 0H280V78z" fill="{palette.paper}"/>'
        f'<path d="M-133 62H280" stroke="{palette.accent}" stroke-width="11"/>'
        f'<g fill="{palette.deep}"><path d="M-112 48Q-104 20 -72 20V48z"/>{windows}</g>',
    )


def watch(palette: Palette, rng: Random) -> str:
    """Draw a watch at a full quarter of an hour."""
    minute = rng.choice((0, 15, 30, 45))
    hour = 30 * rng.randrange(12) + minute / 2
    return (
        f'<path d="M-78 -290H78L92 -120H-92zM-92 120H92L78 290H-78z" fill="{palette.second}"/>'
        f'<path d="M0 -290V290" stroke="{palette.deep}" stroke-opacity=".35" stroke-width="4" '
        'stroke-dasharray="12 9"/>'
        f'<rect x="168" y="-20" width="36" height="40" rx="9" fill="{palette.accent}"/>'
        f'<circle r="178" fill="{palette.deep}"/><circle r="158" fill="{palette.paper}"/>'
        f'<circle r="138" fill="none" stroke="{palette.deep}" stroke-width="12" '
        'stroke-dasharray="2 12.451" stroke-dashoffset="1"/>'
        f'<circle r="132" fill="none" stroke="{palette.deep}" stroke-width="24" '
        'stroke-dasharray="7 62.115" stroke-dashoffset="3.500"/>'
        f'<path d="M0 0L0 -92A92 92 0 0 1 92 0z" fill="{palette.soft}" '
        f'transform="rotate({minute * 6})"/>'
        f'<g stroke="{palette.deep}" stroke-linecap="round">'
        f'<path d="M0 18V-76" stroke-width="13" transform="rotate({hour:g})"/>'
        f'<path d="M0 22V-112" stroke-width="8" transform="rotate({minute * 6})"/></g>'
        f'<path d="M0 34V-122" stroke="{palette.accent}" stroke-width="4" '
        f'transform="rotate({rng.randrange(200, 340)})"/>'
        f'<circle r="11" fill="{palette.accent}"/>'
    )


def garden(palette: Palette, rng: Random) -> str:
    """Draw stems with leaves and round flowers in front of a sun."""
    leaf = "M0 0C34 -14 56 -46 58 -84C22 -76 -2 -44 0 0z"
    stems = []
    for x, fill, petal in (
        (-132, palette.second, palette.accent),
        (0, palette.deep, palette.paper),
        (134, palette.second, palette.accent),
    ):
        tall = rng.randrange(250, 350) + (60 if x == 0 else 0)
        leaves = "".join(
            f'<path d="{leaf}" transform="translate(0 {-y}) scale({side} 1)"/>'
            for y in range(50, tall - 90, 58)
            for side in (1, -1)
        )
        petals = "".join(
            f'<ellipse cy="-34" rx="17" ry="30" transform="rotate({turn})"/>'
            for turn in range(0, 360, 45)
        )
        stems.append(
            f'<g transform="translate({x} 272)"><path d="M0 0V{-tall}" stroke="{fill}" '
            f'stroke-width="9"/><g fill="{fill}">{leaves}</g>'
            f'<g transform="translate(0 {-tall})"><g fill="{petal}">{petals}</g>'
            f'<circle r="21" fill="{palette.soft}"/></g></g>'
        )
    return f'<circle cy="10" r="206" fill="{palette.soft}"/>' + "".join(stems)


def night(palette: Palette, rng: Random) -> str:
    """Draw mountains, the moon and an observatory."""
    stars = "".join(
        f'<circle cx="{rng.randrange(-210, 210)}" cy="{rng.randrange(-210, 40)}" '
        f'r="{rng.choice((1.5, 2, 2, 3))}"/>'
        for _ in range(48)
    )
    x = rng.randrange(30, 100)
    return _clip_to_frame(
        "M0 -220A220 220 0 1 1 0 220A220 220 0 1 1 0 -220z",
        palette.deep,
        f'<g fill="{palette.paper}">{stars}</g>'
        f'<circle cx="{x}" cy="-96" r="72" fill="{palette.accent}"/>'
        f'<g fill="{palette.deep}" fill-opacity=".2"><circle cx="{x - 26}" cy="-114" r="15"/>'
        f'<circle cx="{x + 18}" cy="-76" r="21"/><circle cx="{x + 26}" cy="-128" r="8"/></g>'
        f'<path d="M-280 270L-130 10L-60 110L70 -30L290 240V290z" fill="{palette.soft}"/>'
        f'<path d="M-169 78L-130 10L-90 68L-112 58L-132 78zM20 24L70 -30L124 36L96 24L68 46z" '
        f'fill="{palette.paper}"/>'
        f'<path d="M-280 240Q-170 120 -50 166T280 130V290H-280z" fill="{palette.second}"/>'
        '<g transform="translate(-70 166)">'
        f'<path d="M-8 -64L66 -122L82 -102L14 -40z" fill="{palette.accent}"/>'
        f'<path d="M-58 4V-44A58 58 0 0 1 58 -44V4z" fill="{palette.paper}"/>'
        f'<path d="M-66 -46H66V-31H-66z" fill="{palette.deep}"/>'
        f'<path d="M-13 4V-15a13 13 0 0 1 26 0V4z" fill="{palette.deep}"/></g>'
        f'<path d="M-280 240Q-120 150 40 196T280 170V290H-280z" fill="{palette.deep}" '
        'fill-opacity=".72"/>',
    )


def waves(palette: Palette, rng: Random) -> str:
    """Draw a striped sunset behind a surfboard and waves."""
    stripes = "".join(
        f'<path d="M-220 {y}H220" stroke-width="{width}"/>'
        for y, width in ((-44, 5), (-14, 9), (18, 13))
    )
    rows = "".join(
        f'<path d="M{rng.randrange(-420, -240)} {y}'
        + "q40 -40 80 0t80 0" * 5
        + f'V300H-440V{y}z" fill="{fill}"/>'
        for y, fill in (
            (56, palette.soft),
            (98, palette.second),
            (142, palette.paper),
            (184, palette.deep),
        )
    )
    return _clip_to_frame(
        "M0 -220A220 220 0 1 1 0 220A220 220 0 1 1 0 -220z",
        palette.second,
        f'<circle cy="-40" r="140" fill="{palette.accent}"/>'
        f'<g stroke="{palette.second}">{stripes}</g>'
        f'<g transform="translate({rng.randrange(-50, 60)} 20) '
        f'rotate({rng.choice((-16, 14, 20))})">'
        f'<path d="M0 -190C58 -110 58 70 0 190C-58 70 -58 -110 0 -190z" fill="{palette.paper}"/>'
        f'<path d="M0 -190V190" stroke="{palette.deep}" stroke-width="5"/>'
        f'<path d="M-43 -46H43V-16H-43zM-43 -6H43V4H-43z" fill="{palette.deep}"/></g>{rows}',
    )


def cinema(palette: Palette, rng: Random) -> str:
    """Draw a film reel, its film and a beam of light."""
    holes = "".join(
        f'<circle cy="-78" r="33" transform="rotate({turn})"/>' for turn in range(0, 360, 72)
    )
    film = "M0 150C90 150 90 226 190 226H360"
    return (
        f'<path d="M-60 -40L360 -250V80z" fill="{palette.accent}" fill-opacity=".35"/>'
        f'<path d="M-60 -40L360 -170V10z" fill="{palette.accent}" fill-opacity=".45"/>'
        f'<g transform="translate(-44 0)" fill="none"><path d="{film}" stroke="{palette.deep}" '
        f'stroke-width="58"/><path d="{film}" stroke="{palette.paper}" stroke-width="44" '
        f'stroke-dasharray="10 14"/><path d="{film}" stroke="{palette.deep}" stroke-width="30"/>'
        f'<path d="{film}" stroke="{palette.second}" stroke-width="24" '
        'stroke-dasharray="44 8"/></g>'
        f'<g transform="translate(-44 0) rotate({rng.randrange(72)})">'
        f'<circle r="180" fill="{palette.deep}"/>'
        f'<circle r="156" fill="none" stroke="{palette.second}" stroke-width="8"/>'
        f'<g fill="{palette.paper}">{holes}</g><circle r="26" fill="{palette.accent}"/></g>'
    )


def tiles(palette: Palette, rng: Random) -> str:
    """Draw a wall of tiles with round shapes in random order."""
    colours = (palette.accent, palette.second, palette.soft, palette.paper, palette.deep)
    shapes = (
        "M-66 -66A132 132 0 0 1 66 66H-66z",
        "M-66 -66A132 132 0 0 1 66 66A132 132 0 0 1 -66 -66z",
        "M-66 0A66 66 0 0 1 66 0zM-66 66A66 66 0 0 1 66 66z",
        "M0 -52A52 52 0 1 1 0 52A52 52 0 1 1 0 -52z",
    )
    laid = []
    for place in range(12):
        back, front = rng.sample(colours, 2)
        x, y = -97.5 + place % 3 * 135, -202.5 + place // 3 * 135
        laid.append(
            f'<g transform="translate({x} {y}) rotate({rng.choice((0, 90, 180, 270))})">'
            f'<path d="M-66 -66H66V66H-66z" fill="{back}"/>'
            f'<path d="{rng.choice(shapes)}" fill="{front}"/></g>'
        )
    return "".join(laid)


def _clip_to_frame(frame: str, ground: str, drawn: str) -> str:
    """Return a drawing clipped to a frame, given as SVG path data."""
    return (
        f'<clipPath id="pane"><path d="{frame}"/></clipPath>'
        f'<g clip-path="url(#pane)"><path d="{frame}" fill="{ground}"/>{drawn}</g>'
    )
