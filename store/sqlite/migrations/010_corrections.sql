-- What takes an import back, or replaces what earlier ones counted (store/sqlite/imports/import_corrections.py).

-- The figures of older imports are merged under this number.
INSERT INTO import VALUES (-1, 'older imports, merged', 0, 0);

-- What each of them had counted, by which it can still be taken back.
CREATE TABLE merged_figure (
    import INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    campaign INTEGER NOT NULL,
    banner INTEGER NOT NULL,
    impressions INTEGER NOT NULL,
    clicks INTEGER NOT NULL,
    conversions INTEGER NOT NULL,
    revenue INTEGER NOT NULL,
    PRIMARY KEY (import, slot, campaign, banner)
) STRICT, WITHOUT ROWID;

-- The slots' campaigns whose earlier figures an import replaced.
CREATE TABLE replacement (
    import INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    campaign INTEGER NOT NULL,
    PRIMARY KEY (import, slot, campaign)
) STRICT, WITHOUT ROWID;

-- Clicks and conversions of other imports (`owner`) that an import took out of force. They return
-- if it is taken back, or never published.
CREATE TABLE replaced_click (
    import INTEGER NOT NULL,
    id INTEGER NOT NULL,
    owner INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    campaign INTEGER NOT NULL,
    banner INTEGER NOT NULL,
    PRIMARY KEY (import, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX replaced_click_id ON replaced_click (id);

CREATE TABLE replaced_conversion (
    import INTEGER NOT NULL,
    id INTEGER NOT NULL,
    owner INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    click INTEGER NOT NULL,
    revenue INTEGER NOT NULL,
    PRIMARY KEY (import, id)
) STRICT, WITHOUT ROWID;

-- Imports that were taken back, and by which import.
CREATE TABLE undone (
    import INTEGER PRIMARY KEY,
    by INTEGER NOT NULL,
    source TEXT NOT NULL,
    at INTEGER NOT NULL
) STRICT;
