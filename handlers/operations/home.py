"""The home page."""

from handlers.common.base_handler import BaseHandler
from handlers.common.responses import HTML_CONTENT_TYPE, PageTemplates


class HomeHandler(BaseHandler):
    """`GET /`: links to the admin pages, the API reference and the metrics."""

    def initialize(self, pages: PageTemplates) -> None:
        """Set the templates; called by Tornado for each request."""
        self._pages = pages

    def get(self) -> None:
        """Send the page."""
        self.set_header(*HTML_CONTENT_TYPE)
        self.finish(self._pages.render("home.html"))
