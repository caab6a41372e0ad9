-- Addresses from which users have logged in, as a salted hash.
CREATE TABLE known_address (
    user INTEGER NOT NULL REFERENCES user (id) ON DELETE CASCADE,
    address BLOB NOT NULL, -- BLAKE2b of the network, with the installation's salt
    used_at INTEGER NOT NULL,
    PRIMARY KEY (user, address)
) STRICT, WITHOUT ROWID;
