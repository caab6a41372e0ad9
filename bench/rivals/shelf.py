"""What the rivals of stories share: the sample's tables, in a file of their own."""

import sqlite3

TABLES = """
CREATE TABLE app (id INTEGER PRIMARY KEY, public_token TEXT NOT NULL UNIQUE);
CREATE TABLE story (id INTEGER PRIMARY KEY, app INTEGER NOT NULL, place INTEGER, metadata TEXT);
CREATE INDEX story_place ON story (app, place, id);
"""
STORIES = {1: range(1, 4), 2: range(4, 5), 3: range(5, 9)}
ASKED = """
SELECT app.id, story.id, story.metadata FROM app JOIN story ON story.app = app.id
WHERE public_token = ? ORDER BY place, story.id
"""
# Seconds for which an answer is kept.
KEPT = 60


def create(path: str) -> None:
    """A new file with the sample in it."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(TABLES)
    for app, stories in STORIES.items():
        connection.execute("INSERT INTO app VALUES (?, ?)", (app, f"token_{app}"))
        for number in stories:
            row = (number, app, number, f'{{"img":"image{number}.png"}}')
            connection.execute("INSERT INTO story VALUES (?, ?, ?, ?)", row)
    connection.commit()
    connection.close()
