-- What changed among the events that are in the views: as it was, and as it is now. Only an app's
-- events are replaced; what others count for stays when they are blanked.
INSERT INTO step
SELECT
    change.id, -1, -(change.source = 1), change.app, change.source, change.at, kind.id,
    change.session_key, NULL, NULL, NULL, NULL
FROM log.change
LEFT JOIN kind ON
    kind.app = change.app AND kind.source = change.source
    AND kind.category = change.category AND kind.name = change.name
WHERE n IN (SELECT min(n) FROM log.change WHERE n > :change AND id <= :after GROUP BY id);

INSERT INTO step
SELECT
    event.id, event.data IS NOT NULL, 1, event.app, event.source, event.at, kind.id,
    event.session_key,
    CASE WHEN kind.id IS NULL THEN event.category END,
    CASE WHEN kind.id IS NULL THEN event.name END,
    NULL, NULL
FROM log.event
LEFT JOIN kind ON
    kind.app = event.app AND kind.source = event.source
    AND kind.category = event.category AND kind.name = event.name
WHERE event.id IN (SELECT id FROM log.change WHERE n > :change AND id <= :after)
AND event.source = 1;
