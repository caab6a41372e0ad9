"""What a running server and the commands beside it agree on: commands by name, errors by status."""

from typing import Any

from store.api.errors import StoreBusy, StoreError, StoreFailed, StoreFull, StoreRefused
from store.sqlite.admin.apps import ChangeApp, CreateApp, ListApps, RemoveApp
from store.sqlite.admin.tokens import CreateToken, RevokeToken
from store.sqlite.admin.users import CreateUser, ListUsers, RemoveUser, SetPassword
from store.sqlite.core.command import AdminCommand
from store.sqlite.events.rejected_event_queries import ListRejectedEvents
from store.sqlite.events.rejected_event_replay import RecordReplay
from store.sqlite.imports.rejected_rows import ListRejectedRows
from store.sqlite.stories.stories import ListStories, PutStories, RemoveStories

# All commands that the control socket runs.
COMMAND_TYPES: dict[str, type[AdminCommand[Any]]] = {
    kind.__name__: kind
    for kind in (
        *(CreateApp, ListApps, ChangeApp, RemoveApp, CreateToken, RevokeToken),
        *(PutStories, ListStories, RemoveStories),
        *(ListRejectedRows, ListRejectedEvents, RecordReplay),
        *(CreateUser, ListUsers, RemoveUser, SetPassword),
    )
}
# Status codes of the control socket for errors of the store.
STATUS_ERRORS: dict[int, type[StoreError]] = {
    409: StoreBusy,
    422: StoreRefused,
    503: StoreFailed,
    507: StoreFull,
}
