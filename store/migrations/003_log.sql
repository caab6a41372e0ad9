-- The log: all that happens is one row here, appended in the order of the ids.
-- Sources: 1 app event, 2 story event, 3 banner click, 4 conversion, 5 pageview.
CREATE TABLE event (
    id INTEGER PRIMARY KEY, -- milliseconds << 22 | node << 12 | sequence, always rising
    source INTEGER NOT NULL,
    app INTEGER NOT NULL,
    session TEXT,
    user INTEGER, -- a salted hash, never the user's own id
    category TEXT NOT NULL,
    name TEXT NOT NULL,
    at INTEGER NOT NULL, -- when it happened
    received INTEGER NOT NULL,
    sender TEXT, -- the sender's own id for it, unique for an app
    digest BLOB, -- SHA-256 of the first body that came with this sender
    data TEXT
) STRICT;

-- The only one: what is looked up otherwise stands in views.db, off the way to a commit.
CREATE UNIQUE INDEX event_sender ON event (app, sender) WHERE sender IS NOT NULL;

-- What was replaced or deleted, in this order, for the folds to take back.
CREATE TABLE change (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id INTEGER NOT NULL,
    before TEXT NOT NULL
) STRICT;

-- Which events are right: a JSON Schema for the data of a type, for one app or (0) for all.
CREATE TABLE event_rule (
    category TEXT NOT NULL,
    name TEXT NOT NULL,
    app INTEGER NOT NULL,
    schema TEXT NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (category, name, app)
) STRICT, WITHOUT ROWID;

INSERT INTO event_rule VALUES
('page interaction', 'pageview', 0, '{"type":"object","required":["host","path"],"properties":{"host":{"type":"string"},"path":{"type":"string"}}}', 0),
('page interaction', 'cta click', 0, '{"type":"object","required":["host","path","element"],"properties":{"host":{"type":"string"},"path":{"type":"string"},"element":{"type":"string"}}}', 0),
('form interaction', 'submit', 0, '{"type":"object","required":["host","path","form"],"properties":{"host":{"type":"string"},"path":{"type":"string"},"form":{"type":"object","required":["first_name","last_name"],"properties":{"first_name":{"type":"string"},"last_name":{"type":"string"}}}}}', 0);

-- What was wrong, as it came; ids are of the same kind as the events'.
CREATE TABLE event_reject (
    id INTEGER PRIMARY KEY,
    app INTEGER NOT NULL,
    received INTEGER NOT NULL,
    errors TEXT NOT NULL, -- a JSON array of {pointer, message}
    body BLOB NOT NULL
) STRICT;

-- One row: what is committed with the events that it tells of.
CREATE TABLE log (
    identity INTEGER NOT NULL, -- tells this log from another, whose views are of no use here
    last INTEGER NOT NULL DEFAULT 0, -- the highest id that was given
    received INTEGER NOT NULL DEFAULT 0, -- stored + duplicate + rejected + refused
    stored INTEGER NOT NULL DEFAULT 0,
    duplicate INTEGER NOT NULL DEFAULT 0,
    rejected INTEGER NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0,
    rejects INTEGER NOT NULL DEFAULT 0, -- rows of event_reject,
    rejects_bytes INTEGER NOT NULL DEFAULT 0, -- and what they hold,
    rejects_dropped INTEGER NOT NULL DEFAULT 0 -- and how many fell out
) STRICT;

INSERT INTO log (identity) VALUES (random());

-- So that the bounds of the rejects need no counting, whoever adds or removes one.
CREATE TRIGGER event_reject_added AFTER INSERT ON event_reject BEGIN
    UPDATE log SET
        rejects = rejects + 1,
        rejects_bytes = rejects_bytes + length(new.body) + length(CAST(new.errors AS BLOB));
END;

CREATE TRIGGER event_reject_removed AFTER DELETE ON event_reject BEGIN
    UPDATE log SET
        rejects = rejects - 1,
        rejects_bytes = rejects_bytes - length(old.body) - length(CAST(old.errors AS BLOB));
END;
