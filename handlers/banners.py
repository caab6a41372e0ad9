"""A banner's image, or a drawn placeholder where there is none."""

import hashlib
from collections.abc import Awaitable, Callable, Collection

from handlers.answers import HTML, NO_STORE, SECURITY, Pages, held
from rules.placeholder import placeholder
from rules.rows import LARGEST
from store.errors import StoreError
from store.images import Picture
from wire import Lane, Request, Response

# Long, as an image hardly ever changes under its banner's number; then its ETag is asked for.
KEPT = ("Cache-Control", "public, max-age=86400, stale-while-revalidate=604800")
# An image may come with the next import, so a placeholder is not kept for long.
PASSING = ("Cache-Control", "public, max-age=60")
# An SVG opened by itself is a document: it may neither run nor load anything.
INERT = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
HEADERS = (
    ("Content-Security-Policy", INERT),
    *(pair for pair in SECURITY if pair[0] != "Content-Security-Policy"),
    ("Cross-Origin-Resource-Policy", "cross-origin"),
)


class Banners:
    """The lane of `/banners/`."""

    def __init__(
        self,
        pages: Pages,
        known: Callable[[], Collection[int]],
        image: Callable[[int], Awaitable[Picture | None]],
    ) -> None:
        """`known` are the banners in existence, `image` gives one's picture if it has one."""
        self._pages = pages
        self._missing = pages.error(404, "There is no banner with this number.")
        self._known = known
        self._image = image

    async def image(self, request: Request) -> Response:
        """The image's bytes, typed by what they are; 304 to whom has them."""
        banner = int(request.params[0])
        try:
            picture = await self._image(banner) if banner <= LARGEST else None
        except StoreError as error:
            body = self._pages.error_body(503, f"This cannot be shown now: {error}.")
            return Response(503, [HTML, NO_STORE, ("Retry-After", "1"), *SECURITY], body)
        if picture is None:
            if banner not in self._known():
                return self._missing
            drawn = placeholder(banner)
            tag = f'"{hashlib.sha256(drawn).hexdigest()[:32]}"'
            return _answer(request, drawn, "image/svg+xml", tag, PASSING)
        return _answer(request, picture.body, picture.type, picture.etag, KEPT)

    def lanes(self) -> list[Lane]:
        """The image."""
        return [Lane("GET", r"/banners/(\d{1,19})", self.image, name="banner image")]


def _answer(request: Request, body: bytes, kind: str, tag: str, kept: tuple[str, str]) -> Response:
    if held(request, tag):
        return Response(304, [("ETag", tag), kept, *HEADERS])
    return Response(200, [("Content-Type", kind), ("ETag", tag), kept, *HEADERS], body)
