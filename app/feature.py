"""What a feature contributes to the server.

Each module beside this one that builds a feature has a function `build(core) -> Feature`, and
server.py lists them. All that the server does for features is a loop over that list.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from background.events.retention_worker import RetentionTask
from handlers.admin.overview import DashboardChart
from handlers.common.route import Route
from handlers.operations.metrics import MetricSample
from httpserver import FastRoute

Hook = Callable[[], Awaitable[None]]
Worker = Callable[[], Coroutine[Any, Any, None]]


class CacheCounts(Protocol):
    """The counts of an in-memory cache since the start."""

    hits: int
    loads: int


# A row of the admin overview: its label, the URL of the page with more ("" for none), its value.
OverviewFact = tuple[str, str, str]


async def do_nothing() -> None:
    """Wait for nothing: the default of all hooks."""


async def _no_facts() -> Sequence[OverviewFact]:
    return ()


@dataclass(frozen=True, kw_only=True)
class OverviewPart:
    """What a feature shows on the first admin page."""

    # The chart of a count shows its increase per second, the chart of a level its value.
    count_charts: Sequence[tuple[DashboardChart, Callable[[], float]]] = ()
    level_charts: Sequence[tuple[DashboardChart, Callable[[], float | None]]] = ()
    facts: Callable[[], Awaitable[Sequence[OverviewFact]]] = _no_facts
    # Links (URL, text) to what the owner should do first.
    hints: Callable[[], Sequence[tuple[str, str]]] = tuple
    # Caches whose hit ratio is shown, all together.
    caches: Sequence[CacheCounts] = ()
    rising_pages: Callable[[], Sequence[Any]] = tuple


@dataclass(frozen=True, kw_only=True)
class Feature:
    """The contributions of one feature; all but the name are optional."""

    name: str
    fast_routes: Sequence[FastRoute] = ()
    routes: Sequence[Route] = ()
    admin_pages: Sequence[Route] = ()
    # Handlers of the control socket in the data folder, which only its owner can open.
    control_routes: Sequence[Route] = ()
    # Each runs as a task from the start to the stop. One that fails stops the server.
    workers: Sequence[Worker] = ()
    # Before the first request: fill caches, read state.
    start: Hook = do_nothing
    # Before the server drains: end streams and jobs, which would not end by themselves.
    close: Hook = do_nothing
    # After the last response, once the workers are cancelled: write what is in memory.
    stop: Hook = do_nothing
    # Steps of the retention worker: those that go by the age of data, and others.
    retention_steps: Sequence[RetentionTask] = ()
    cleanup_steps: Sequence[RetentionTask] = ()
    # Awaited after an import is published, before its importer hears of it.
    import_published: Hook = do_nothing
    metrics: Callable[[], Iterable[MetricSample]] = tuple
    # `/readyz` returns 200 if all checks of all features hold; notes are for the owner.
    readiness_checks: Mapping[str, Callable[[], bool]] = field(default_factory=dict)
    readiness_notes: Callable[[], Iterable[str]] = tuple
    # Lines of the startup message, by the server's base URL.
    startup_lines: Callable[[str], Iterable[str]] = lambda _: ()
    overview: OverviewPart = field(default_factory=OverviewPart)
