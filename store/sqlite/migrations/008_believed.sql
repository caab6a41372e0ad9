-- The latest time that was believed: what is old by it may go. In µs, 0 if none is known.
ALTER TABLE log ADD COLUMN believed INTEGER NOT NULL DEFAULT 0;

-- Ids begin with the milliseconds of when they were given.
UPDATE log SET believed = (last >> 22) * 1000;
