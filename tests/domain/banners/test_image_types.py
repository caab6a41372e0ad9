"""Image types: by the bytes alone."""

import gzip
import struct
import time

import pytest

from domain.banners.image_types import image_type, unsupported_image_reason

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="3" height="1"/>'
SVG_TYPE = "image/svg+xml"
DOCUMENT_TYPE = """<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/svg11.dtd" [
  <!ENTITY ns_svg "http://www.w3.org/2000/svg">
  <!ENTITY odd "]> > <html>">
  <!-- a ]> within a comment -->
]>"""
PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + b"\0" * 17
ICO = b"\0\0\1\0\1\0" + b"\x10\x10\0\0\1\0\x20\0" + struct.pack("<II", 4, 22) + b"\0" * 4
BMP = b"BM" + struct.pack("<IIII", 66, 0, 62, 40) + b"\0" * 48


def box(major: bytes, *compatible: bytes) -> bytes:
    content = b"ftyp" + major + b"\0\0\0\0" + b"".join(compatible)
    return struct.pack(">I", len(content) + 4) + content + b"\0" * 40


@pytest.mark.parametrize(
    "text",
    [
        SVG,
        "<svg>",
        f"\n\t {SVG}",
        f'<?xml version="1.0"?>\n<!-- a > b -->\n{SVG}',
        f'<?xml version="1.0"?><?xml-stylesheet href="a>b.css"?>{SVG}',
        f"<!-- made by a program -->\n{DOCUMENT_TYPE}\n<!-- again -->\n{SVG}",
        f"{DOCUMENT_TYPE}<?drawn by='hand'?>{SVG}",
        f"<!doctype svg>{SVG}",
        '<s:svg xmlns:s="http://www.w3.org/2000/svg"/>',
        '<svg\nxmlns="&ns_svg;"\n/>',
        f"<!--{'a long licence ' * 2_000}-->{SVG}",
        "<!---->" * 500 + SVG,
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_an_svg_is_known_by_its_root_element(text: str, encoding: str) -> None:
    if encoding.endswith("e") and text[0] != "<":
        return  # XML tells UTF-16 without a mark by its first character
    assert image_type(text.encode(encoding)) == SVG_TYPE


def test_a_byte_order_mark_of_utf_16_is_either_one() -> None:
    for mark, encoding in (("\ufeff", "utf-16-be"), ("\ufeff", "utf-16-le")):
        assert image_type((mark + "\n" + SVG).encode(encoding)) == SVG_TYPE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<",
        "svg",
        "<svgs>",
        "<html><svg></svg></html>",
        f"<!DOCTYPE html><html>{SVG}</html>",
        f"text {SVG}",
        "<!-- <svg> -->",
        "<!--" * 1_000,
        f"<!-- never ends {SVG}",
        f"<!DOCTYPE svg [ {SVG}",
        f'<?xml version="1.0" {SVG}'.replace("?", "!"),
        "<a:b:svg>",
    ],
)
def test_what_has_another_root_is_no_svg(text: str) -> None:
    assert image_type(text.encode()) is None


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (PNG, "image/png"),
        (PNG + b"\0\0\0\x08acTL", "image/png"),
        (b"\xff\xd8\xff\xe0\0\x10JFIF\0", "image/jpeg"),
        (b"\xff\xd8\xff\xe1\0\x10Exif\0", "image/jpeg"),
        (b"\xff\xd8\xff\xee\0\x0eAdobe", "image/jpeg"),
        (b"\xff\xd8\xff\xdb\0\x43\0", "image/jpeg"),
        (b"GIF87a" + b"\0" * 10, "image/gif"),
        (b"GIF89a" + b"\0" * 10, "image/gif"),
        *((b"RIFF\x10\0\0\0WEBP" + kind, "image/webp") for kind in (b"VP8 ", b"VP8L", b"VP8X")),
        (box(b"avif", b"avif", b"mif1", b"miaf"), "image/avif"),
        (box(b"avis", b"avif"), "image/avif"),
        (box(b"mif1", b"miaf", b"avif"), "image/avif"),
        (b"\0\0\0\x20ftypavis\0\0\0\0", "image/avif"),
        (BMP, "image/bmp"),
        (ICO, "image/x-icon"),
        (ICO[:-1], None),
        (b"\0\0\1\0", None),
        (b"RIFF\x10\0\0\0WAVEfmt ", None),
        (b"BMW is no image, whatever it begins with", None),
        (box(b"mp42", b"isom"), None),
    ],
)
def test_a_raster_image_is_known_by_its_header(body: bytes, kind: str | None) -> None:
    assert image_type(body) == kind


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is empty"),
        (gzip.compress(SVG.encode(), mtime=0), "gzip"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"MM\0*\0\0\0\x08", "TIFF"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (box(b"heic", b"mif1", b"heic"), "HEIC"),
        (box(b"mif1", b"heic"), "HEIC"),
        (b"%PDF-1.7", "PDF"),
        (b"\n<!DOCTYPE html><svg/>", "HTML"),
        (b"hello", "is no PNG, JPEG"),
    ],
)
def test_the_reason_names_what_the_file_is(body: bytes, words: str) -> None:
    assert image_type(body) is None
    assert words in unsupported_image_reason(body)


def test_a_hostile_prolog_costs_linear_time() -> None:
    for text in ("<!--" * 70_000, "<!DOCTYPE [" + "<!--" * 70_000, "<?" * 130_000, "<!DOCTYPE '"):
        began = time.process_time()
        assert image_type(text.encode()) is None
        assert time.process_time() - began < 5
