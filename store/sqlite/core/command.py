"""Base class of admin commands, which run wherever the database is open.

An `AdminCommand` holds the parameters and runs on the database. If a server has the database open,
the command is sent there by name (`commands/control_client.py`) and the result returns typed. A new
command needs one class, and its name in `commands/admin_backend.py`.
"""

from typing import Any, Generic, TypeVar, get_type_hints

import msgspec

from store.sqlite.core.database import Database

R = TypeVar("R")

# The actor in the audit log if none is given.
DEFAULT_ACTOR = "the terminal"


class AdminCommand(
    msgspec.Struct, Generic[R], frozen=True, forbid_unknown_fields=True, kw_only=True
):
    """Base of commands; a subclass adds fields, and `run` with the type of its result.

    `by` is the actor in the audit log (`store/sqlite/core/audit_log.py`).
    """

    by: str = DEFAULT_ACTOR

    async def run(self, database: Database) -> R:
        """Run the command; raise `StoreRefused`, with a message for users, if impossible."""
        raise NotImplementedError

    @classmethod
    def answer(cls) -> Any:
        """Return the result type of `run`."""
        return get_type_hints(cls.run)["return"]
