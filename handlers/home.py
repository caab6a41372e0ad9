"""The front door."""

from handlers.answers import HTML, Pages
from handlers.base import Handler


class Home(Handler):
    """`/`: what this is, for who comes without an address."""

    def initialize(self, pages: Pages) -> None:
        """`pages` makes the page."""
        self._pages = pages

    def get(self) -> None:
        """The page."""
        self.set_header(*HTML)
        self.finish(self._pages.html("home.html"))
