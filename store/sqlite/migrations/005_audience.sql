-- Hosts that are watched: what was read of them, minute by minute.
CREATE TABLE audience (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL, -- where it was read
    key TEXT NOT NULL,
    host TEXT NOT NULL,
    UNIQUE (source, key, host)
) STRICT;

CREATE TABLE audience_path (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    audience INTEGER NOT NULL REFERENCES audience (id),
    path TEXT NOT NULL,
    title TEXT NOT NULL,
    minute INTEGER NOT NULL, -- the last in which it stands
    UNIQUE (audience, path)
) STRICT;

CREATE INDEX audience_path_minute ON audience_path (audience, minute);

-- An average is the sum of visitors over the readings of its minute; minutes count from 1970.
CREATE TABLE audience_minute (
    audience INTEGER NOT NULL,
    minute INTEGER NOT NULL,
    readings INTEGER NOT NULL,
    PRIMARY KEY (audience, minute)
) STRICT, WITHOUT ROWID;

CREATE TABLE audience_visitors (
    audience INTEGER NOT NULL,
    minute INTEGER NOT NULL,
    path INTEGER NOT NULL,
    visitors INTEGER NOT NULL,
    PRIMARY KEY (audience, minute, path)
) STRICT, WITHOUT ROWID;
