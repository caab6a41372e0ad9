-- views.db: what is looked up or counted, all of it made from the log.
CREATE TABLE place (
    log INTEGER NOT NULL, -- the identity of the log that these views are of
    version TEXT NOT NULL, -- of the folds that made them
    id INTEGER NOT NULL, -- events up to this one are in the views
    change INTEGER NOT NULL, -- and changes up to this one
    recent INTEGER NOT NULL, -- rows in by_session_recent,
    next INTEGER NOT NULL, -- the session whose rows leave it next,
    until INTEGER NOT NULL -- and the one before which this step's end
) STRICT;

-- What events are alike in; a number is short.
CREATE TABLE kind (
    id INTEGER PRIMARY KEY,
    app INTEGER NOT NULL,
    source INTEGER NOT NULL,
    category TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (app, source, category, name)
) STRICT;

CREATE INDEX kind_type ON kind (category, name);
CREATE INDEX kind_name ON kind (name, app, source);

CREATE TABLE by_app (
    app INTEGER NOT NULL,
    at INTEGER NOT NULL,
    id INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    PRIMARY KEY (app, at, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE by_kind (
    kind INTEGER NOT NULL,
    at INTEGER NOT NULL,
    id INTEGER NOT NULL,
    PRIMARY KEY (kind, at, id)
) STRICT, WITHOUT ROWID;

-- By the session's key, not its text: of a person nothing stands in this file.
CREATE TABLE by_session (
    session INTEGER NOT NULL,
    at INTEGER NOT NULL,
    id INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    PRIMARY KEY (session, at, id)
) STRICT, WITHOUT ROWID;

-- Rows wait here until there are some for each session: where they go to, each session has a page
-- of its own, and to write one of those for each event would cost more than all else does.
CREATE TABLE by_session_recent (
    session INTEGER NOT NULL,
    at INTEGER NOT NULL,
    id INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    PRIMARY KEY (session, at, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE minute (
    minute INTEGER NOT NULL, -- since 1970
    kind INTEGER NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (minute, kind)
) STRICT, WITHOUT ROWID;

-- What banners did here; micros of revenue are high * 2^32 + low, so that no sum overflows.
CREATE TABLE live (
    slot INTEGER NOT NULL,
    campaign INTEGER NOT NULL,
    banner INTEGER NOT NULL,
    clicks INTEGER NOT NULL,
    conversions INTEGER NOT NULL,
    high INTEGER NOT NULL,
    low INTEGER NOT NULL,
    PRIMARY KEY (slot, campaign, banner)
) STRICT, WITHOUT ROWID;

-- Story events of a day. Days are counted from 0001-01-01, which is the 0th.
CREATE TABLE story_day (
    day INTEGER NOT NULL,
    app INTEGER NOT NULL,
    story INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (day, app, story, kind)
) STRICT, WITHOUT ROWID;

-- Users who were active on a day or, with a span of several days, on one of those that end with it.
CREATE TABLE active (
    app INTEGER NOT NULL,
    span INTEGER NOT NULL,
    day INTEGER NOT NULL,
    users INTEGER NOT NULL,
    PRIMARY KEY (app, span, day)
) STRICT, WITHOUT ROWID;

-- What that is counted from: of each user the days of a block of 31, a bit each.
CREATE TABLE user_days (
    block INTEGER NOT NULL,
    app INTEGER NOT NULL,
    user INTEGER NOT NULL,
    days INTEGER NOT NULL,
    PRIMARY KEY (block, app, user)
) STRICT, WITHOUT ROWID;

-- Which bit is which day of a block.
CREATE TABLE bit (
    value INTEGER PRIMARY KEY,
    day INTEGER NOT NULL
) STRICT;

INSERT INTO bit
WITH RECURSIVE days (day) AS (VALUES (0) UNION ALL SELECT day + 1 FROM days WHERE day < 30)
SELECT 1 << day, day FROM days;
