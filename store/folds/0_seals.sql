-- What views begin with: what events that were dropped have counted for.
INSERT INTO kind SELECT * FROM log.sealed_kind;

INSERT INTO minute SELECT * FROM log.sealed_minute
WHERE minute < (SELECT sealed / 60000000 FROM log.log);

INSERT INTO live SELECT * FROM log.sealed_live;
