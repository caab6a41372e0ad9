"""The event filter of a query: used by the API and the admin pages."""

from domain.events.event import EVENT_SOURCES
from handlers.common.api_handler import ApiHandler
from store.sqlite.events.event_records import EventFilter

FILTER_PARAMETERS = ("session_id", "category", "name", "app", "source", "from", "to", "order")


def event_filter(handler: ApiHandler, app: int | None) -> EventFilter:
    """Return the filter in the query of a request; raise 422 for an invalid argument.

    `app` is the app that the client may read, None for all apps.
    """
    source = handler.text_argument("source")
    if source is not None and source not in EVENT_SOURCES:
        raise handler.argument_error("source", f"must be one of {', '.join(EVENT_SOURCES)}")
    return EventFilter(
        session=handler.text_argument("session_id"),
        category=handler.text_argument("category"),
        name=handler.text_argument("name"),
        app=app,
        source=None if source is None else EVENT_SOURCES[source],
        since=handler.time_argument("from"),
        until=handler.time_argument("to"),
    )


def is_newest_first(handler: ApiHandler) -> bool:
    """Return whether the query asks for descending order."""
    order = handler.text_argument("order")
    if order not in (None, "asc", "desc"):
        raise handler.argument_error("order", "must be asc or desc")
    return order == "desc"
