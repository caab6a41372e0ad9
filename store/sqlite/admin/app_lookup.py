"""Lookup of an app by the reference that a user types."""

import sqlite3

from store.api.errors import StoreRefused


def find_app(connection: sqlite3.Connection, reference: str) -> int:
    """Return the id of the app with this id, name or public token.

    Raise `StoreRefused` if no app or more than one matches.
    """
    sql = (
        "SELECT id FROM app WHERE public_token = ?1 OR name = ?1 "
        "OR (id = CAST(?1 AS INTEGER) AND CAST(id AS TEXT) = ?1)"
    )
    found = [row[0] for row in connection.execute(sql, (reference,))]
    if not found:
        raise StoreRefused(f"there is no app {reference!r}: give its id, name or public token")
    if len(found) > 1:
        raise StoreRefused(f"{reference!r} matches the apps {found}: give a public token")
    return int(found[0])
