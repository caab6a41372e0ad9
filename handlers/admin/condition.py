"""How the server is: what `/readyz` and `/metrics` know, in words."""

from collections.abc import Callable, Iterable
from typing import Any

from handlers.admin.page import Page
from handlers.health import Readiness
from handlers.metrics import Figure
from rules import words

CHECKS = {
    "migrated": ("The database has this program's tables", "The database is of another version"),
    "warm": ("Campaigns are in memory", "Campaigns are still being read"),
    "writer": ("The database can be written", "The database is broken: restart, look at the disk"),
    "taking": ("Visitors may come", "The server is ending"),
}


def routes(
    readiness: Callable[[], Readiness],
    figures: Callable[[], Iterable[Figure]],
    facts: Callable[[], dict[str, str]],
) -> list[Any]:
    """Where this is; `facts` are words by their names."""
    parts = {"readiness": readiness, "figures": figures, "facts": facts}
    return [(r"/admin/health", Condition, parts)]


class Condition(Page):
    """`/admin/health`."""

    def initialize(self, **parts: Any) -> None:
        """See `routes`."""
        self._parts = parts

    async def get(self) -> None:
        """All of it."""
        readiness: Readiness = self._parts["readiness"]()
        checks = [
            (well, CHECKS.get(name, (name, name))[0 if well else 1])
            for name, well in readiness.checks.items()
        ]
        rows = [
            (figure.words, figure.label[1] if figure.label else "", _value(figure))
            for figure in self._parts["figures"]()
        ]
        self.show(
            "health.html",
            "Health",
            ready=readiness.ready,
            checks=checks,
            notes=readiness.notes,
            figures=rows,
            facts=self._parts["facts"](),
        )


def _value(figure: Figure) -> str:
    name = figure.name.removesuffix("_total")
    if name.endswith("_seconds"):
        return words.seconds(figure.value)
    if name.endswith("_bytes"):
        return words.size(figure.value)
    if name == "marquee_ready":
        return "yes" if figure.value else "no"
    return words.number(figure.value)
