-- For how long the server has run with a clock that it does not believe. In µs.
ALTER TABLE log ADD COLUMN lived INTEGER NOT NULL DEFAULT 0;
