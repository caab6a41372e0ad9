"""Audit entries of imports."""

import sqlite3

from domain.common.formatting import format_count
from store.sqlite.core.audit_log import format_value, write_audit_entry
from store.sqlite.core.command import DEFAULT_ACTOR

# Prefix of the source of an upload; the user name follows.
UPLOAD_SOURCE_PREFIX = "upload by "


def audit_import(
    connection: sqlite3.Connection, number: int, source: str, replacement: str
) -> None:
    """Write the audit entry of a published import: actor, source, row counts, replaced stats."""
    sql = "SELECT count(*), sum(stored), sum(duplicate), sum(rejected) FROM file WHERE import = ?"
    files, *counts = connection.execute(sql, (number,)).fetchone()
    names = ("stored", "duplicate", "rejected")
    rows = ", ".join(f"{count or 0:,} {name}" for name, count in zip(names, counts, strict=True))
    actor = (
        source.removeprefix(UPLOAD_SOURCE_PREFIX)
        if source.startswith(UPLOAD_SOURCE_PREFIX)
        else DEFAULT_ACTOR
    )
    details = (
        f"import {number} from {format_value(source)}; {format_count(files, 'file')}; rows: {rows}"
    )
    details += f"; replaced: {replacement}" * bool(replacement)
    write_audit_entry(connection, actor, "imported campaigns", details)


def audit_undo(connection: sqlite3.Connection, number: int, target: int, source: str) -> None:
    """Write the audit entry for import `number`, which undid import `target`."""
    details = f"{target} from {format_value(source)}, by import {number}"
    write_audit_entry(connection, DEFAULT_ACTOR, "undid import", details)
