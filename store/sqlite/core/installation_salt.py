"""Salt of user ids, so that they differ between installations."""

from store.sqlite.core.database import Database


async def read_salt(database: Database) -> bytes:
    """Return the random salt, which was created with the tables and never changes."""
    sql = "SELECT value FROM salt"
    salt: bytes = await database.read_internal(
        lambda connection: connection.execute(sql).fetchone()[0]
    )
    return salt
