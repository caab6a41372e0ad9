"""What makes a number of a user here another one than in any other installation."""

from store.sqlite.core.database import Database


async def read_salt(database: Database) -> bytes:
    """It was made by chance with the tables, and stays with them."""
    sql = "SELECT value FROM salt"
    found: bytes = await database.read_internal(
        lambda connection: connection.execute(sql).fetchone()[0]
    )
    return found
