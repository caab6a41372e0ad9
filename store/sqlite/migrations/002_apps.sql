CREATE TABLE app (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    public_token TEXT NOT NULL UNIQUE,
    hosts TEXT NOT NULL, -- a JSON array of names
    strict INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE token (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    app INTEGER NOT NULL REFERENCES app (id),
    sha256 BLOB NOT NULL,
    scopes TEXT NOT NULL, -- words with blanks between
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

CREATE INDEX token_app ON token (app);
