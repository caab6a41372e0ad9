DELETE FROM by_session
WHERE (session, at, id) IN (SELECT session, at, id FROM step WHERE sign < 0);

INSERT INTO by_session
SELECT session, at, id, kind FROM step WHERE sign > 0 AND session IS NOT NULL
ORDER BY session, at, id;
