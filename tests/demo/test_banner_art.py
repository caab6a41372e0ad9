import re
from xml.etree import ElementTree

import pytest

from demo.banner_art import BRANDS, PALETTES, demo_banner_svg
from demo.demo_campaigns import BANNER_IDS
from demo.scenes import Palette
from domain.banners.placeholder import placeholder_svg

LARGEST = 2**63 - 1
SVG = "{http://www.w3.org/2000/svg}"
# Elements and attributes that run, load or lead somewhere.
ALIVE = {"script", "foreignObject", "image", "use", "a", "iframe", "animate", "set"}


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def blend(over: str, under: str, opacity: float) -> str:
    pairs = [(int(over[at : at + 2], 16), int(under[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(a * opacity + b * (1 - opacity)):02x}" for a, b in pairs)


def words(drawn: bytes) -> list[str]:
    root = ElementTree.fromstring(drawn)
    return [each.text or "" for each in root.iter(f"{SVG}text")]


def inert(drawn: bytes) -> bool:
    root = ElementTree.fromstring(drawn)
    names = {each.tag.removeprefix(SVG) for each in root.iter()}
    attributes = [(name, value) for each in root.iter() for name, value in each.attrib.items()]
    return not names & ALIVE and not any(
        name.startswith("on") or name.endswith("href") or re.search(r"url\((?!#)", value)
        for name, value in attributes
    )


@pytest.mark.parametrize("banner", BANNER_IDS)
def test_a_picture_is_one_inert_drawing_that_names_brand_and_banner(banner: int) -> None:
    drawn = demo_banner_svg(banner)
    root = ElementTree.fromstring(drawn)
    assert root.tag == f"{SVG}svg"
    assert root.get("viewBox") == "0 0 960 540"
    assert inert(drawn)
    assert words(drawn)[0] in {brand.name for brand in BRANDS}
    assert str(banner) in words(drawn)[-1].split()
    identifiers = [each.get("id") for each in root.iter() if each.get("id")]
    assert len(identifiers) == len(set(identifiers))
    assert set(re.findall(r"url\(#(\w+)\)", drawn.decode())) <= set(identifiers)


def test_the_same_banner_always_looks_the_same_and_no_two_are_alike() -> None:
    drawn = [demo_banner_svg(banner) for banner in BANNER_IDS]
    assert drawn == [demo_banner_svg(banner) for banner in BANNER_IDS]
    said = {tuple(words(each)[:3]) for each in drawn}
    assert len(said) == len(drawn)


def test_what_is_drawn_of_what_is_not_alive_is_told_apart() -> None:
    shell = b'<svg xmlns="http://www.w3.org/2000/svg">%s</svg>'
    assert inert(shell % b'<g fill="url(#ground)"/>')
    for alive in (b"<script/>", b'<g onload="x"/>', b'<g fill="url(//example.com)"/>'):
        assert not inert(shell % alive)


@pytest.mark.parametrize("palette", PALETTES)
def test_words_can_be_read_on_their_ground(palette: Palette) -> None:
    ground, ink = palette.ground, palette.ink
    for end in ground:
        assert contrast(ink, end) >= 7
        assert contrast(blend(ink, end, 0.8), end) >= 4.5
    assert contrast(ground[0], ink) >= 7


def test_headlines_have_two_lines_that_fit() -> None:
    for brand in BRANDS:
        assert len(set(brand.headlines)) == 6
        for headline in brand.headlines:
            upper, lower = headline.split("/")
            assert 2 <= min(len(upper), len(lower)) <= max(len(upper), len(lower)) <= 15


@pytest.mark.parametrize("banner", [0, 7, 347, 123_456, LARGEST])
def test_a_placeholder_is_an_inert_drawing_of_the_banner_s_number(banner: int) -> None:
    drawn = placeholder_svg(banner)
    assert inert(drawn)
    assert str(banner) in words(drawn)
    assert str(banner) in (ElementTree.fromstring(drawn).findtext(f"{SVG}title") or "")


def test_the_longest_number_fits_into_its_placeholder() -> None:
    size = re.search(
        r'class="ink".*?font-size="(\d+)"', placeholder_svg(LARGEST).decode(), re.DOTALL
    )
    assert size is not None
    assert int(size[1]) * 0.7 * len(str(LARGEST)) < 904  # digits are 0.56 to 0.7 of it wide


def test_a_placeholder_can_be_read_in_light_and_in_dark() -> None:
    light, dark = placeholder_svg(1).decode().split("@media (prefers-color-scheme: dark)")
    for style in (light, dark):
        colours = dict(re.findall(r"\.(\w+) \{ (?:fill|stroke): (#\w{6}) \}", style))
        assert contrast(colours["ink"], colours["ground"]) >= 7
        assert contrast(colours["soft"], colours["ground"]) >= 4.5
    assert luminance(dict(re.findall(r"\.(\w+) \{ fill: (#\w{6}) \}", dark))["ground"]) < 0.05
