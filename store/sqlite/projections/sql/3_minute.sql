-- The first minute of year 1 is the 0th here, as a division rounds towards 0.
INSERT INTO minute
SELECT (at + 62135596800000000) / 60000000 - 1035593280, kind, sum(counts) FROM step
WHERE counts != 0 AND at >= (SELECT sealed FROM log.log) GROUP BY 1, 2
ON CONFLICT DO UPDATE SET events = events + excluded.events;
