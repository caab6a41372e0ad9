import re
from xml.etree import ElementTree

import pytest

from demo.banner_art import BRANDS, PALETTES, demo_banner_svg
from demo.demo_campaigns import BANNER_IDS
from demo.scenes import Palette
from domain.banners.placeholder import placeholder_svg

MAX_BANNER_ID = 2**63 - 1
SVG = "{http://www.w3.org/2000/svg}"
# Elements that execute, load or link.
ACTIVE_TAGS = {"script", "foreignObject", "image", "use", "a", "iframe", "animate", "set"}


def luminance(colour: str) -> float:
    """Return the relative luminance of a #rrggbb colour (WCAG 2.2)."""
    parts = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast_ratio(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def blend(over: str, under: str, opacity: float) -> str:
    pairs = [(int(over[at : at + 2], 16), int(under[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(a * opacity + b * (1 - opacity)):02x}" for a, b in pairs)


def svg_texts(drawn: bytes) -> list[str]:
    root = ElementTree.fromstring(drawn)
    return [each.text or "" for each in root.iter(f"{SVG}text")]


def is_inert(drawn: bytes) -> bool:
    root = ElementTree.fromstring(drawn)
    names = {each.tag.removeprefix(SVG) for each in root.iter()}
    attributes = [(name, value) for each in root.iter() for name, value in each.attrib.items()]
    return not names & ACTIVE_TAGS and not any(
        name.startswith("on") or name.endswith("href") or re.search(r"url\((?!#)", value)
        for name, value in attributes
    )


@pytest.mark.parametrize("banner", BANNER_IDS)
def test_banner_is_inert_svg_with_brand_and_id(banner: int) -> None:
    drawn = demo_banner_svg(banner)
    root = ElementTree.fromstring(drawn)
    assert root.tag == f"{SVG}svg"
    assert root.get("viewBox") == "0 0 960 540"
    assert is_inert(drawn)
    assert svg_texts(drawn)[0] in {brand.name for brand in BRANDS}
    assert str(banner) in svg_texts(drawn)[-1].split()
    identifiers = [each.get("id") for each in root.iter() if each.get("id")]
    assert len(identifiers) == len(set(identifiers))
    assert set(re.findall(r"url\(#(\w+)\)", drawn.decode())) <= set(identifiers)


def test_banner_art_is_deterministic_and_unique() -> None:
    drawn = [demo_banner_svg(banner) for banner in BANNER_IDS]
    assert drawn == [demo_banner_svg(banner) for banner in BANNER_IDS]
    texts = {tuple(svg_texts(each)[:3]) for each in drawn}
    assert len(texts) == len(drawn)


def test_is_inert_detects_active_content() -> None:
    shell = b'<svg xmlns="http://www.w3.org/2000/svg">%s</svg>'
    assert is_inert(shell % b'<g fill="url(#ground)"/>')
    for active in (b"<script/>", b'<g onload="x"/>', b'<g fill="url(//example.com)"/>'):
        assert not is_inert(shell % active)


@pytest.mark.parametrize("palette", PALETTES)
def test_text_contrast_meets_wcag(palette: Palette) -> None:
    ground, ink = palette.ground, palette.ink
    for end in ground:
        assert contrast_ratio(ink, end) >= 7
        assert contrast_ratio(blend(ink, end, 0.8), end) >= 4.5
    assert contrast_ratio(ground[0], ink) >= 7


def test_headlines_have_two_lines_that_fit() -> None:
    for brand in BRANDS:
        assert len(set(brand.headlines)) == 6
        for headline in brand.headlines:
            upper, lower = headline.split("/")
            assert 2 <= min(len(upper), len(lower)) <= max(len(upper), len(lower)) <= 15


@pytest.mark.parametrize("banner", [0, 7, 347, 123_456, MAX_BANNER_ID])
def test_placeholder_is_inert_svg_with_banner_id(banner: int) -> None:
    drawn = placeholder_svg(banner)
    assert is_inert(drawn)
    assert str(banner) in svg_texts(drawn)
    assert str(banner) in (ElementTree.fromstring(drawn).findtext(f"{SVG}title") or "")


def test_longest_banner_id_fits_placeholder() -> None:
    size = re.search(
        r'class="ink".*?font-size="(\d+)"', placeholder_svg(MAX_BANNER_ID).decode(), re.DOTALL
    )
    assert size is not None
    assert (
        int(size[1]) * 0.7 * len(str(MAX_BANNER_ID)) < 904
    )  # a digit is at most 0.7 of the font size wide


def test_placeholder_contrast_meets_wcag_in_both_schemes() -> None:
    light, dark = placeholder_svg(1).decode().split("@media (prefers-color-scheme: dark)")
    for style in (light, dark):
        colours = dict(re.findall(r"\.(\w+) \{ (?:fill|stroke): (#\w{6}) \}", style))
        assert contrast_ratio(colours["ink"], colours["ground"]) >= 7
        assert contrast_ratio(colours["soft"], colours["ground"]) >= 4.5
    assert luminance(dict(re.findall(r"\.(\w+) \{ fill: (#\w{6}) \}", dark))["ground"]) < 0.05
