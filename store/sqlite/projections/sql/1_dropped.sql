-- Events that are about to be dropped for their age: their index rows go, what they counted stays.
INSERT INTO step
SELECT
    event.id, -1, 0, event.app, event.source, event.at, kind.id, event.session_key,
    NULL, NULL, NULL, NULL
FROM log.event
JOIN kind ON
    kind.app = event.app AND kind.source = event.source
    AND kind.category = event.category AND kind.name = event.name
WHERE event.id <= :dropped AND event.data IS NOT NULL;
