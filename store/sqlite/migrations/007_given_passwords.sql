-- When a password was made up for a user, who is to choose another (µs); 0 for the user's own.
ALTER TABLE user ADD COLUMN given_at INTEGER NOT NULL DEFAULT 0;
