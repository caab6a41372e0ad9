-- Who may see and change everything in a browser.
CREATE TABLE user (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    digest TEXT NOT NULL, -- of the password, argon2id
    created_at INTEGER NOT NULL,
    seen_at INTEGER -- when last logged in
) STRICT;

-- Sessions in browsers, by the SHA-256 of what the cookie holds.
CREATE TABLE login (
    sha256 BLOB PRIMARY KEY,
    user INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    began_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX login_user ON login (user);

-- What owners changed; no secret ever stands here.
CREATE TABLE audit (
    n INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    who TEXT NOT NULL, -- a user's name as it was then, or how else it was done
    deed TEXT NOT NULL,
    about TEXT NOT NULL
) STRICT;

-- An app's rejects are found among those of others.
CREATE INDEX event_reject_app ON event_reject (app, id);
