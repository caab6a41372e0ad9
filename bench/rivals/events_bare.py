"""The limit of events in lines: one thread that gives `executemany` our rows for our bare table.

Arguments: folder, rows a commit, seconds. Prints events a second, and CPU seconds an event.
"""

import json
import sqlite3
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent))
from store.sqlite.core.migrations import migrate
from store.sqlite.events.commit_batch import EVENT_COLUMNS

PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 256")
# As those of events.lua.
KINDS = (
    ("page interaction", "pageview", '{"host":"www.example.com","path":"/p/%d"}'),
    (
        "page interaction",
        "cta click",
        '{"host":"www.example.com","path":"/p/%d","element":"chat bubble 7"}',
    ),
    (
        "form interaction",
        "submit",
        '{"host":"www.example.com","path":"/p/%d",'
        '"form":{"first_name":"John 12345","last_name":"Doe"}}',
    ),
)


def rows(first: int, size: int) -> list[tuple[object, ...]]:
    """Rows of the log, ready to be stored."""
    made = []
    for number in range(first, first + size):
        category, name, data = KINDS[number % 3]
        session = f"{number * 7919 % 20_000:08x}-0000-4000-8000-{number % 20_000:012x}"
        at = 1_700_000_000_000_000 + number * 10
        values: list[object] = [(1 << 60) + number, at, number * 2_654_435_761 % 2**32]
        values += [1, 1, session, None, category, name, at, None, None, data % (number % 977)]
        made.append(tuple(values))
    return made


def main(folder: str, size: int, seconds: float) -> None:
    """Time the storing alone: the rows are there before."""
    connection = sqlite3.connect(Path(folder, "bare.db"), isolation_level=None)
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    migrate(connection)
    values = ", ".join("?" * len(EVENT_COLUMNS))
    insert = f"INSERT INTO event ({', '.join(EVENT_COLUMNS)}) VALUES ({values})"
    count, spent, lasted = 0, 0.0, 0.0
    while lasted < seconds:
        some = rows(count, size)
        began, used = time.perf_counter(), time.process_time()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, some)
        connection.execute("COMMIT")
        lasted += time.perf_counter() - began
        spent += time.process_time() - used
        count += size
    print(json.dumps({"rate": count / lasted, "cpu": spent / count}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
