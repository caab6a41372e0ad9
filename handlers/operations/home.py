"""The front door."""

from handlers.common.base_handler import BaseHandler
from handlers.common.responses import HTML_CONTENT_TYPE, PageTemplates


class HomeHandler(BaseHandler):
    """`/`: what this is, for who comes without an address."""

    def initialize(self, pages: PageTemplates) -> None:
        """`pages` makes the page."""
        self._pages = pages

    def get(self) -> None:
        """The page."""
        self.set_header(*HTML_CONTENT_TYPE)
        self.finish(self._pages.render("home.html"))
