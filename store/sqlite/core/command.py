"""What a command may ask of a store, wherever that store is.

A `Command` is a record of what is asked, and runs on the database. Where a server has the
database it is sent there by name (`commands/control_client.py`), and the answer comes back typed: a
new kind of command is one class, and its name in `commands/admin_backend.py`.
"""

from typing import Any, Generic, TypeVar, get_type_hints

import msgspec

from store.sqlite.core.database import Database

R = TypeVar("R")

# Who asks, where nobody else is named.
DEFAULT_ACTOR = "the terminal"


class AdminCommand(
    msgspec.Struct, Generic[R], frozen=True, forbid_unknown_fields=True, kw_only=True
):
    """The base of commands; a subclass has fields, and `run` with its answer's type.

    `by` is who stands in the list of what was changed (`store/sqlite/core/audit_log.py`).
    """

    by: str = DEFAULT_ACTOR

    async def run(self, database: Database) -> R:
        """Do it; raises `StoreRefused`, with words for people, for what can't be done."""
        raise NotImplementedError

    @classmethod
    def answer(cls) -> Any:
        """The type of what `run` returns."""
        return get_type_hints(cls.run)["return"]
