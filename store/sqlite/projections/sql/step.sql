-- The rows of one step.
CREATE TEMP TABLE step (
    id INTEGER NOT NULL,
    sign INTEGER NOT NULL, -- of its index rows: 1 they come, -1 they go, 0 there are none
    counts INTEGER NOT NULL, -- in figures: 1 it comes, -1 it goes, 0 they stay as they are
    app INTEGER NOT NULL,
    source INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind INTEGER,
    session INTEGER, -- its key
    category TEXT, -- these two where there is no number yet
    name TEXT,
    data TEXT, -- of those sources whose data are counted
    user INTEGER
) STRICT;

-- Its users: the days in a block of 31 on which they were active, a bit each, that the views did
-- not know, and those that they did.
CREATE TEMP TABLE step_user (
    block INTEGER NOT NULL,
    app INTEGER NOT NULL,
    user INTEGER NOT NULL,
    days INTEGER NOT NULL,
    known INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (block, app, user)
) STRICT, WITHOUT ROWID;
