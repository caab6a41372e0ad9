"""Detect the type of an image by its content, without its name or extension."""

import re

SUPPORTED_FORMATS = "PNG, JPEG, GIF, WebP, AVIF, SVG, BMP or ICO"
# Bytes searched for the root element of an SVG: licences and DOCTYPEs are long.
MAX_SVG_PROLOG_BYTES = 262_144
AVIF_BRANDS, HEIF_BRANDS = (
    {b"avif", b"avis"},
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1"},
)
# Sizes of the header that follows a BMP's file header of 14 bytes.
BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe", "utf-16-le"),
    (b"\xfe\xff", "utf-16-be"),
    # XML 1.0, appendix F: the first character is "<" where there is no mark.
    (b"<\0", "utf-16-le"),
    (b"\0<", "utf-16-be"),
)
XML_WHITESPACE = " \t\r\n"
DOCTYPE_PATTERN = re.compile(r"<!DOCTYPE\s+([\w:.-]+)", re.IGNORECASE)
HTML_PATTERN = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE
)
SVG_ROOT_PATTERN = re.compile(r"<(?:[A-Za-z_][\w.-]*:)?svg(?=[\s/>])")
# Signatures of formats that browsers do not show, for the error message.
UNSUPPORTED_SIGNATURES = (
    (b"\x1f\x8b", "is gzip-compressed (SVGZ?): unpack it first"),
    (b"II*\0", "is a TIFF image, which browsers do not show"),
    (b"MM\0*", "is a TIFF image, which browsers do not show"),
    (b"\xff\x0a", "is a JPEG XL image, which most browsers do not show"),
    (b"\0\0\0\x0cJXL ", "is a JPEG XL image, which most browsers do not show"),
    (b"\0\0\0\x0cjP  ", "is a JPEG 2000 image, which most browsers do not show"),
    (b"8BPS", "is a Photoshop file: export it as PNG or JPEG"),
    (b"%PDF-", "is a PDF: export it as PNG or SVG"),
    (b"%!PS", "is a PostScript file: export it as PNG or SVG"),
)


def image_type(body: bytes) -> str | None:
    """Return the media type of an image that browsers show, None for anything else."""
    if body.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if body.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if body.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    if body.startswith(b"RIFF") and body[8:12] == b"WEBP":
        return "image/webp"
    if AVIF_BRANDS & _brands(body):
        return "image/avif"
    if _is_bmp(body):
        return "image/bmp"
    if _is_ico(body):
        return "image/x-icon"
    return "image/svg+xml" if _is_svg(body) else None


def unsupported_image_reason(body: bytes) -> str:
    """Return why `image_type` is None for these bytes, as the end of a sentence."""
    if not body:
        return "is empty"
    for start, words in UNSUPPORTED_SIGNATURES:
        if body.startswith(start):
            return words
    if HEIF_BRANDS & _brands(body):
        return "is a HEIC image, which most browsers do not show: export it as JPEG or AVIF"
    if HTML_PATTERN.match(body[:512]):
        return "is an HTML page, not an image"
    return f"is no {SUPPORTED_FORMATS} image"


def _brands(body: bytes) -> set[bytes]:
    """Return the brands in the `ftyp` box of an ISO media file; the major one comes first."""
    if body[4:8] != b"ftyp":
        return set()
    size = min(int.from_bytes(body[:4], "big"), len(body), 1024)
    # The minor version stands between the major brand and the compatible ones.
    compatible = {body[at : at + 4] for at in range(16, size - 3, 4)}
    return {body[8:12]} | compatible


def _is_bmp(body: bytes) -> bool:
    # Two letters are too weak a signature: check the reserved fields and the header size, too.
    header = int.from_bytes(body[14:18], "little")
    return body.startswith(b"BM") and body[6:10] == b"\0\0\0\0" and header in BMP_HEADER_SIZES


def _is_ico(body: bytes) -> bool:
    """Return whether the first entry of an icon's directory lies within the file."""
    if body[:4] != b"\0\0\1\0" or not 0 < int.from_bytes(body[4:6], "little") < 256:
        return False
    size, offset = (int.from_bytes(body[at : at + 4], "little") for at in (14, 18))
    return size > 0 and 22 <= offset <= len(body) - size


def _is_svg(body: bytes) -> bool:
    """Return whether the root element of an XML document is `svg`, with or without a prefix."""
    head, encoding = body[:MAX_SVG_PROLOG_BYTES], "utf-8"
    for mark, named in BYTE_ORDER_MARKS:
        if head.startswith(mark):
            encoding = named
            break
    # Other encodings match UTF-8 in the ASCII characters searched for here.
    text = head.decode(encoding, "replace").removeprefix("\ufeff")
    at = _skip_whitespace(text, 0)
    while text.startswith(("<?", "<!"), at):
        if text.startswith("<!--", at):
            at = _position_after(text, "-->", at + 4)
        elif text.startswith("<?", at):
            at = _position_after(text, "?>", at + 2)
        elif (found := DOCTYPE_PATTERN.match(text, at)) and found[1].lower() != "html":
            at = _skip_doctype(text, found.end())
        else:
            return False
        if at < 0:
            return False
        at = _skip_whitespace(text, at)
    return SVG_ROOT_PATTERN.match(text, at) is not None


def _position_after(text: str, end: str, start: int) -> int:
    """Return the position after the next `end`, or -1."""
    found = text.find(end, start)
    return -1 if found < 0 else found + len(end)


def _skip_whitespace(text: str, start: int) -> int:
    while start < len(text) and text[start] in XML_WHITESPACE:
        start += 1
    return start


def _skip_doctype(text: str, start: int) -> int:
    """Return the position after a document type with its internal subset, -1 if it has no end."""
    at, inside = start, False
    while at < len(text):
        letter = text[at]
        if letter in "\"'":
            at = _position_after(text, letter, at + 1)
        elif text.startswith("<!--", at):
            at = _position_after(text, "-->", at + 4)
        elif text.startswith("<?", at):
            at = _position_after(text, "?>", at + 2)
        elif letter == ">" and not inside:
            return at + 1
        else:
            inside = (inside or letter == "[") and letter != "]"
            at += 1
        if at < 0:
            return -1
    return -1
