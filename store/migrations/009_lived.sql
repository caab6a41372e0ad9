-- When the doubt of the clock that lasts today began, by that clock. In µs, 0 if there is none.
ALTER TABLE log ADD COLUMN doubted INTEGER NOT NULL DEFAULT 0;
