"""`/banners/{banner}`: the stored image of a banner, or a generated placeholder."""

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

# An image rarely changes under its banner number; after this time browsers revalidate the ETag.
IMAGE_CACHE_CONTROL = ("Cache-Control", "public, max-age=86400, stale-while-revalidate=604800")
# Short, as the next import may bring the image.
PLACEHOLDER_CACHE_CONTROL = ("Cache-Control", "public, max-age=60")
# An SVG opened directly is a document: forbid scripts and subresources.
IMAGE_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
IMAGE_HEADERS = (
    ("Content-Security-Policy", IMAGE_SECURITY_POLICY),
    *(pair for pair in SECURITY_HEADERS if pair[0] != "Content-Security-Policy"),
    ("Cross-Origin-Resource-Policy", "cross-origin"),
)


class BannerImages:
    """The fast route of `/banners/{banner}`."""

    def __init__(
        self,
        pages: PageTemplates,
        known_banners: Callable[[], Collection[int]],
        load_image: Callable[[int], Awaitable[StoredImage | None]],
    ) -> None:
        """`load_image` returns None for a banner without an image."""
        self._pages = pages
        self._not_found = pages.error_response(404, "Unknown banner.")
        self._known_banners = known_banners
        self._load_image = load_image

    async def image(self, request: Request) -> Response:
        """Return the image with the media type of its bytes, or 304 if the ETag matches."""
        banner = int(request.params[0])
        try:
            image = await self._load_image(banner) if banner <= MAX_INT64 else None
        except StoreError as error:
            body = self._pages.render_error(503, f"The image is not available now: {error}.")
            return Response(
                503, [HTML_CONTENT_TYPE, NO_STORE, ("Retry-After", "1"), *SECURITY_HEADERS], body
            )
        if image is None:
            if banner not in self._known_banners():
                return self._not_found
            svg = placeholder_svg(banner)
            etag = f'"{hashlib.sha256(svg).hexdigest()[:32]}"'
            return _image_response(request, svg, "image/svg+xml", etag, PLACEHOLDER_CACHE_CONTROL)
        return _image_response(request, image.body, image.type, image.etag, IMAGE_CACHE_CONTROL)

    def fast_routes(self) -> list[FastRoute]:
        """Return the route of the image."""
        return [FastRoute("GET", r"/banners/(\d{1,19})", self.image, name="banner image")]


def _image_response(
    request: Request, body: bytes, media_type: str, etag: str, cache_control: tuple[str, str]
) -> Response:
    if is_not_modified(request, etag):
        return Response(304, [("ETag", etag), cache_control, *IMAGE_HEADERS])
    headers = [("Content-Type", media_type), ("ETag", etag), cache_control, *IMAGE_HEADERS]
    return Response(200, headers, body)
