"""Banner images of the demo, for fictional brands."""

from dataclasses import dataclass
from random import Random

from demo import scenes
from demo.scenes import Palette, Scene

FONT_FAMILY = "'Avenir Next','Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"


@dataclass(frozen=True, slots=True)
class DemoBrand:
    """A brand; a headline has two lines of at most 15 characters, separated by a slash."""

    name: str
    scene: Scene
    action: str
    headlines: tuple[str, ...]


PALETTES = (
    Palette(  # night
        ("#111a36", "#2b3d78"), "#f8f4ea", "#ffb54d", "#5d86d8", "#41548f", "#fdf3dd", "#0a1024"
    ),
    Palette(  # dawn
        ("#fff0dd", "#ffd0ab"), "#3b1522", "#e4573d", "#a8325a", "#ffb07f", "#fffaf2", "#3b1522"
    ),
    Palette(  # fern
        ("#0e3a33", "#185a48"), "#f4f8e9", "#f7c548", "#7fcf9d", "#2c7f67", "#f6f3df", "#07231f"
    ),
    Palette(  # sand
        ("#f8f2e4", "#eadcbd"), "#22302f", "#d64e2c", "#2f7a7d", "#dcc596", "#fffdf6", "#22302f"
    ),
    Palette(  # plum
        ("#2a1237", "#64285f"), "#fff1f4", "#ff9068", "#c78bf0", "#84407d", "#ffeee2", "#190a22"
    ),
    Palette(  # sky
        ("#e3f3ff", "#b3dbf8"), "#0c2a45", "#f0623f", "#2274b8", "#84c1ec", "#fbfdff", "#0c2a45"
    ),
)

BRANDS = (
    DemoBrand("Tarnwick Roasters", scenes.coffee, "Find your roast", (
        "Slow mornings/start here", "Roasted today,/at your door", "A quiet cup/for loud days",
        "First sip,/then the world", "Nine origins,/one counter", "Stay for/a second cup",
    )),
    DemoBrand("Velotern Bicycles", scenes.bicycle, "Take a test ride", (
        "Take the/long way home", "Light enough/to carry", "Built for/Monday hills",
        "Two wheels,/no timetable", "Leave the car,/keep the view", "Spring has/a bell on it",
    )),
    DemoBrand("Quillmoss Paper", scenes.paper, "See the notebooks", (
        "Write it down,/let it go", "Paper that/likes ink", "Ideas need/a landing place",
        "One page/a day", "For lists and/love letters", "Blank is/a beginning",
    )),
    DemoBrand("Fennimore Rail", scenes.rail, "Plan a journey", (
        "The window seat/is waiting", "Coast to peak/by noon", "Slow travel,/on time",
        "Read a book/at full speed", "City, sleep,/seaside", "Weekends begin/on platform 4",
    )),
    DemoBrand("Orlebrook Watches", scenes.watch, "Meet the series", (
        "Every quarter/counts", "Made to be/handed down", "Time, without/the noise",
        "Wind it once,/wear it daily", "Be early,/look calm", "Small gears,/long years",
    )),
    DemoBrand("Seedwhistle Gardens", scenes.garden, "Start a garden", (
        "Grow something/this week", "A balcony/is enough", "Sow now,/smile in June",
        "Bees will/thank you", "From seed/to supper", "Green thumbs/not required",
    )),
    DemoBrand("Noctiva Observatory", scenes.night, "Book a night", (
        "Stay up for/the universe", "Saturn is/in tonight", "Look up,/it is free",
        "Meet your/nearest star", "Dark skies,/warm blankets", "Front row/to the moon",
    )),
    DemoBrand("Brindlewave Surf", scenes.waves, "Choose a board", (
        "Catch the/last light", "Boards for/small waves", "Salt in/your schedule",
        "Out of office,/into the sea", "Learn to fall/gracefully", "The tide/is in",
    )),
    DemoBrand("Duskmere Cinema", scenes.cinema, "See what is on", (
        "The lights go/down at eight", "Big screen,/small town", "Stories in/35 millimetres",
        "Bring a friend,/share a row", "Midnight/matinee", "Stay for/the credits",
    )),
    DemoBrand("Tessaroy Tiles", scenes.tiles, "Order samples", (
        "Walls worth/a second look", "Lay it out/your way", "Pattern is/a good habit",
        "Floors with/a rhythm", "Made by hand,/set by you", "Kitchens need/more colour",
    )),
)  # fmt: skip


def demo_banner_svg(banner: int) -> bytes:
    """Return a banner's image as SVG of 960 by 540; the same banner returns the same image."""
    brand = BRANDS[banner % len(BRANDS)]
    variant = banner // len(BRANDS)
    palette = PALETTES[(variant + banner) % len(PALETTES)]
    upper, lower = brand.headlines[variant % len(brand.headlines)].split("/")
    scene = brand.scene(palette, Random(banner))
    width = 44 + 12.5 * len(brand.action)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 540" role="img" \
font-family="{FONT_FAMILY}">
<title>{brand.name}: {upper} {lower}</title>
<defs>
<linearGradient id="ground" gradientUnits="userSpaceOnUse" x2="960" y2="540">\
<stop stop-color="{palette.ground[0]}"/><stop offset="1" stop-color="{palette.ground[1]}"/>\
</linearGradient>
<clipPath id="frame"><path d="M0 0H960V540H0z"/></clipPath>
</defs>
<g clip-path="url(#frame)">
<path d="M0 0H960V540H0z" fill="url(#ground)"/>
<g transform="translate(720 270)">{scene}</g>
</g>
<g fill="{palette.ink}">
<circle cx="66" cy="68" r="11" fill="{palette.accent}"/>
<text x="88" y="76" font-size="24" font-weight="600">{brand.name}</text>
<g font-size="56" font-weight="800" letter-spacing="-1.200">\
<text x="54" y="246">{upper}</text><text x="54" y="310">{lower}</text></g>
<rect x="54" y="376" width="{width:g}" height="60" rx="30"/>
<text x="{54 + width / 2:g}" y="414" font-size="24" font-weight="600" text-anchor="middle" \
fill="{palette.ground[0]}">{brand.action}</text>
<text x="54" y="500" font-size="17" fill-opacity=".8">Sample banner {banner}</text>
</g>
</svg>
""".encode()
