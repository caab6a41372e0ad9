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
    data TEXT -- of those sources whose data are counted
) STRICT;
