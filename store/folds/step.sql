-- The rows of one step: an event that comes has the sign 1, one that goes -1.
CREATE TEMP TABLE step (
    id INTEGER NOT NULL,
    sign INTEGER NOT NULL,
    app INTEGER NOT NULL,
    source INTEGER NOT NULL,
    at INTEGER NOT NULL,
    kind INTEGER,
    session INTEGER,
    category TEXT, -- these three where there is no number yet
    name TEXT,
    said TEXT, -- the session
    data TEXT -- of those sources whose data are counted
) STRICT;
