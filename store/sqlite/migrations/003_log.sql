-- The log: all that happens is one row here, appended in the order of the ids.
-- Sources: 1 app event, 2 story event, 3 banner click, 4 conversion, 5 pageview.
CREATE TABLE event (
    id INTEGER PRIMARY KEY, -- milliseconds << 22 | node << 12 | sequence, always rising
    source INTEGER NOT NULL,
    app INTEGER NOT NULL,
    session TEXT,
    session_key INTEGER, -- by which the views list it (store/sqlite/projections/session_key.py)
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

-- What was replaced or blanked, in this order, as it was: for the views to take back. Nothing here
-- tells of a person, and it goes when they have.
CREATE TABLE change (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    id INTEGER NOT NULL,
    source INTEGER NOT NULL,
    app INTEGER NOT NULL,
    session_key INTEGER,
    category TEXT NOT NULL,
    name TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;

-- The data of blanked events that figures are made of: which banner or story, never who.
CREATE TABLE remains (
    id INTEGER PRIMARY KEY,
    data TEXT NOT NULL
) STRICT;

-- The senders' ids of blanked events, as SHA-256, so that none comes back by being sent again.
CREATE TABLE forgotten (
    app INTEGER NOT NULL,
    sender TEXT NOT NULL, -- this and the digest in hexadecimals
    id INTEGER NOT NULL,
    digest TEXT, -- of the first body, as in event
    PRIMARY KEY (app, sender)
) STRICT, WITHOUT ROWID;

CREATE INDEX forgotten_id ON forgotten (id);

-- What events that are dropped for their age have counted for; views begin with these. Figures of
-- a day are sealed before any of its events goes, and no late event changes them then.
CREATE TABLE sealed_kind (
    id INTEGER PRIMARY KEY, -- as in views.db
    app INTEGER NOT NULL,
    source INTEGER NOT NULL,
    category TEXT NOT NULL,
    name TEXT NOT NULL,
    UNIQUE (app, source, category, name)
) STRICT;

CREATE TABLE sealed_minute (
    minute INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    events INTEGER NOT NULL,
    PRIMARY KEY (minute, kind)
) STRICT, WITHOUT ROWID;

-- Of no day: each event that is dropped is added here in the same transaction.
CREATE TABLE sealed_live (
    slot INTEGER NOT NULL,
    campaign INTEGER NOT NULL,
    banner INTEGER NOT NULL,
    clicks INTEGER NOT NULL,
    conversions INTEGER NOT NULL,
    high INTEGER NOT NULL,
    low INTEGER NOT NULL,
    PRIMARY KEY (slot, campaign, banner)
) STRICT, WITHOUT ROWID;

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
    sealed INTEGER NOT NULL DEFAULT -9223372036854775808, -- figures of days before this moment are
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
