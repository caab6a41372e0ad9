"""Placeholder image of a banner without an image."""

FONT_FAMILY = "'Avenir Next','Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif"


def placeholder_svg(banner: int) -> bytes:
    """Return an SVG that shows the banner's number, with a light and a dark colour scheme."""
    number = str(banner)
    size = min(132, 1150 // len(number))
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 540" role="img" \
font-family="{FONT_FAMILY}" text-anchor="middle">
<title>Banner {number}, which has no image</title>
<style>
.ground {{ fill: #ece8e0 }} .line {{ stroke: #bdb5a7 }} .shape {{ fill: #d9d3c7 }}
.ink {{ fill: #4a443c }} .soft {{ fill: #665f55 }}
@media (prefers-color-scheme: dark) {{
.ground {{ fill: #27231f }} .line {{ stroke: #5a534a }} .shape {{ fill: #453e37 }}
.ink {{ fill: #ede7de }} .soft {{ fill: #b3aa9f }}
}}
</style>
<path class="ground" d="M0 0H960V540H0z"/>
<rect class="line" x="28" y="28" width="904" height="484" rx="20" fill="none" stroke-width="3" \
stroke-dasharray="14 12" stroke-linecap="round"/>
<rect class="shape" x="390" y="98" width="180" height="128" rx="16"/>
<g class="ground"><circle cx="432" cy="136" r="15"/>\
<path d="M406 206L458 160L486 184L520 146L554 206z"/></g>
<text class="soft" x="480" y="286" font-size="32" font-weight="600">Banner</text>
<text class="ink" x="480" y="{370 + size * 0.36:g}" font-size="{size}" \
font-weight="800">{number}</text>
</svg>
""".encode()
