DELETE FROM by_app WHERE (app, at, id) IN (SELECT app, at, id FROM step WHERE sign < 0);

INSERT INTO by_app SELECT app, at, id, kind FROM step WHERE sign > 0 ORDER BY app, at, id;
