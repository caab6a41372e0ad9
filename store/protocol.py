"""What a running server and the commands beside it agree on: commands by name, errors by status."""

from typing import Any

from store.apps import ChangeApp, CreateApp, CreateToken, ListApps, RemoveApp, RevokeToken
from store.commands import Command
from store.errors import StoreBusy, StoreError, StoreFailed, StoreFull, StoreRefused
from store.event_rejects import ListEventRejects
from store.rejects import ListRejects
from store.replaying import NoteReplayed
from store.stories import ListStories, PutStories, RemoveStories
from store.users import CreateUser, ListUsers, RemoveUser, SetPassword

# All commands that the control socket runs.
COMMANDS: dict[str, type[Command[Any]]] = {
    kind.__name__: kind
    for kind in (
        *(CreateApp, ListApps, ChangeApp, RemoveApp, CreateToken, RevokeToken),
        *(PutStories, ListStories, RemoveStories),
        *(ListRejects, ListEventRejects, NoteReplayed),
        *(CreateUser, ListUsers, RemoveUser, SetPassword),
    )
}
# Status codes of the control socket for errors of the store.
STATUSES: dict[int, type[StoreError]] = {
    409: StoreBusy,
    422: StoreRefused,
    503: StoreFailed,
    507: StoreFull,
}
