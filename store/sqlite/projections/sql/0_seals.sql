-- What views begin with: what events that were dropped have counted for.
INSERT INTO kind SELECT * FROM log.sealed_kind;

INSERT INTO minute SELECT * FROM log.sealed_minute
WHERE minute < (SELECT sealed / 60000000 FROM log.log);

INSERT INTO live SELECT * FROM log.sealed_live;

INSERT INTO story_day SELECT * FROM log.sealed_story_day
WHERE day < (SELECT (sealed + 62135596800000000) / 86400000000 FROM log.log);

INSERT INTO active SELECT app, span, day, users FROM log.sealed_active
WHERE day < (SELECT (sealed + 62135596800000000) / 86400000000 FROM log.log);
