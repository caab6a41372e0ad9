DELETE FROM by_kind WHERE (kind, at, id) IN (SELECT kind, at, id FROM step WHERE sign < 0);

INSERT INTO by_kind SELECT kind, at, id FROM step WHERE sign > 0 ORDER BY kind, at, id;
