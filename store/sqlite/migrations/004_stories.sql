-- What apps show: stories in their order, from and until a moment (µs since 1970).
CREATE TABLE story (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    app INTEGER NOT NULL REFERENCES app (id) ON DELETE CASCADE,
    place INTEGER NOT NULL, -- the lower one goes first, then the lower id
    shown_from INTEGER,
    shown_until INTEGER, -- not included
    metadata TEXT NOT NULL, -- a JSON object; its `img` is what is answered
    changed_at INTEGER NOT NULL
) STRICT;

CREATE INDEX story_place ON story (app, place, id);

-- One row: what makes a user's number here another one than elsewhere.
CREATE TABLE salt (
    value BLOB NOT NULL
) STRICT;

INSERT INTO salt VALUES (randomblob(32));

-- Figures of days, as in 003: of story events, and of users.
CREATE TABLE sealed_story_day (
    day INTEGER NOT NULL,
    app INTEGER NOT NULL,
    story INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (day, app, story, kind)
) STRICT, WITHOUT ROWID;

CREATE TABLE sealed_active (
    day INTEGER NOT NULL,
    app INTEGER NOT NULL,
    span INTEGER NOT NULL,
    users INTEGER NOT NULL,
    PRIMARY KEY (day, app, span)
) STRICT, WITHOUT ROWID;
