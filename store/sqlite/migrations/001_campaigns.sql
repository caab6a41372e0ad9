-- Times are microseconds since 1970 (UTC), money is in micros (a millionth).

-- What an import staged counts once `published_at` is set, so that one small commit puts it in
-- force; a row without it, and all that bears its number, is in the making or was cut off.
CREATE TABLE import (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    published_at INTEGER
) STRICT;

-- What this server served is import 0.
INSERT INTO import VALUES (0, 'served here', 0, 0);

CREATE TABLE file (
    sha256 BLOB NOT NULL,
    import INTEGER NOT NULL,
    name TEXT NOT NULL,
    read INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    duplicate INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    PRIMARY KEY (sha256, import, name)
) STRICT, WITHOUT ROWID;

-- All that ranking needs; the sum over the published imports counts.
CREATE TABLE figure (
    slot INTEGER NOT NULL,
    campaign INTEGER NOT NULL,
    banner INTEGER NOT NULL,
    import INTEGER NOT NULL,
    impressions INTEGER NOT NULL,
    clicks INTEGER NOT NULL,
    conversions INTEGER NOT NULL,
    revenue INTEGER NOT NULL,
    PRIMARY KEY (slot, campaign, banner, import)
) STRICT, WITHOUT ROWID;

-- Clicks and conversions are kept to know an id again, and a conversion's click.
CREATE TABLE click (
    id INTEGER PRIMARY KEY,
    import INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    campaign INTEGER NOT NULL,
    banner INTEGER NOT NULL
) STRICT;

CREATE TABLE conversion (
    id INTEGER PRIMARY KEY,
    import INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    click INTEGER NOT NULL,
    revenue INTEGER NOT NULL
) STRICT;

-- Of targets and images, the newest published one of a banner counts.
CREATE TABLE target (
    banner INTEGER NOT NULL,
    import INTEGER NOT NULL,
    url TEXT NOT NULL,
    PRIMARY KEY (banner, import)
) STRICT, WITHOUT ROWID;

CREATE TABLE image (
    banner INTEGER NOT NULL,
    import INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    type TEXT NOT NULL,
    PRIMARY KEY (banner, import)
) STRICT, WITHOUT ROWID;

-- Rows that an import did not take; line 0 is the file as a whole.
CREATE TABLE reject (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    import INTEGER NOT NULL,
    file TEXT NOT NULL,
    line INTEGER NOT NULL,
    reason TEXT NOT NULL,
    row TEXT NOT NULL
) STRICT;

CREATE INDEX reject_import ON reject (import);

CREATE TABLE counter (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
