DELETE FROM by_session
WHERE (session, at, id) IN (SELECT session, at, id FROM step WHERE sign < 0);

DELETE FROM by_session_recent
WHERE (session, at, id) IN (SELECT session, at, id FROM step WHERE sign < 0);

UPDATE place SET recent = recent - changes();

INSERT INTO by_session_recent
SELECT session, at, id, kind FROM step WHERE sign > 0 AND session IS NOT NULL
ORDER BY session, at, id;

UPDATE place SET recent = recent + changes();

-- As many as are too many leave, session by session, round and round.
UPDATE place SET until = coalesce(
    (
        SELECT max(place.next + 1, session) FROM by_session_recent
        WHERE session >= place.next ORDER BY session LIMIT 1
        OFFSET (SELECT recent - :waiting FROM place)
    ),
    9223372036854775807
)
WHERE recent > :waiting;

INSERT INTO by_session
SELECT * FROM by_session_recent
WHERE session >= (SELECT next FROM place) AND session < (SELECT until FROM place);

DELETE FROM by_session_recent
WHERE session >= (SELECT next FROM place) AND session < (SELECT until FROM place);

UPDATE place SET recent = recent - changes();

UPDATE place SET next = CASE WHEN until = 9223372036854775807 THEN 0 ELSE until END;

UPDATE place SET until = next;
