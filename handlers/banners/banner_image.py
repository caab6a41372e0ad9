"""A banner's image, or a drawn placeholder where there is none."""

import hashlib
from collections.abc import Awaitable, Callable, Collection

from domain.banners.placeholder import placeholder_svg
from domain.common.csv_rows import MAX_INT64
from handlers.common.responses import (
    HTML_CONTENT_TYPE,
    NO_STORE,
    SECURITY_HEADERS,
    PageTemplates,
    is_not_modified,
)
from httpserver import FastRoute, Request, Response
from store.api.errors import StoreError
from store.sqlite.banners.image_store import StoredImage

# Long, as an image hardly ever changes under its banner's number; then its ETag is asked for.
IMAGE_CACHE_CONTROL = ("Cache-Control", "public, max-age=86400, stale-while-revalidate=604800")
# An image may come with the next import, so a placeholder is not kept for long.
PLACEHOLDER_CACHE_CONTROL = ("Cache-Control", "public, max-age=60")
# An SVG opened by itself is a document: it may neither run nor load anything.
IMAGE_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
IMAGE_HEADERS = (
    ("Content-Security-Policy", IMAGE_SECURITY_POLICY),
    *(pair for pair in SECURITY_HEADERS if pair[0] != "Content-Security-Policy"),
    ("Cross-Origin-Resource-Policy", "cross-origin"),
)


class BannerImages:
    """The lane of `/banners/`."""

    def __init__(
        self,
        pages: PageTemplates,
        known: Callable[[], Collection[int]],
        image: Callable[[int], Awaitable[StoredImage | None]],
    ) -> None:
        """`known` are the banners in existence, `image` gives one's picture if it has one."""
        self._pages = pages
        self._missing = pages.error_response(404, "There is no banner with this number.")
        self._known = known
        self._image = image

    async def image(self, request: Request) -> Response:
        """The image's bytes, typed by what they are; 304 to whom has them."""
        banner = int(request.params[0])
        try:
            picture = await self._image(banner) if banner <= MAX_INT64 else None
        except StoreError as error:
            body = self._pages.render_error(503, f"This cannot be shown now: {error}.")
            return Response(
                503, [HTML_CONTENT_TYPE, NO_STORE, ("Retry-After", "1"), *SECURITY_HEADERS], body
            )
        if picture is None:
            if banner not in self._known():
                return self._missing
            drawn = placeholder_svg(banner)
            tag = f'"{hashlib.sha256(drawn).hexdigest()[:32]}"'
            return _image_response(request, drawn, "image/svg+xml", tag, PLACEHOLDER_CACHE_CONTROL)
        return _image_response(
            request, picture.body, picture.type, picture.etag, IMAGE_CACHE_CONTROL
        )

    def lanes(self) -> list[FastRoute]:
        """The image."""
        return [FastRoute("GET", r"/banners/(\d{1,19})", self.image, name="banner image")]


def _image_response(
    request: Request, body: bytes, kind: str, tag: str, kept: tuple[str, str]
) -> Response:
    if is_not_modified(request, tag):
        return Response(304, [("ETag", tag), kept, *IMAGE_HEADERS])
    return Response(200, [("Content-Type", kind), ("ETag", tag), kept, *IMAGE_HEADERS], body)
