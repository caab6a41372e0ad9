-- What changed among the events that are in the views: as it was, and as it is now.
INSERT INTO step
SELECT
    change.id, -1, before ->> 'app', before ->> 'source', before ->> 'at', kind.id, session.id,
    NULL, NULL, NULL, before ->> 'data'
FROM log.change
LEFT JOIN kind ON
    kind.app = before ->> 'app' AND kind.source = before ->> 'source'
    AND kind.category = before ->> 'category' AND kind.name = before ->> 'name'
LEFT JOIN session ON session.text = before ->> 'session'
WHERE n IN (SELECT min(n) FROM log.change WHERE n > :change AND id <= :after GROUP BY id);

INSERT INTO step
SELECT
    event.id, 1, event.app, event.source, event.at, kind.id, session.id,
    CASE WHEN kind.id IS NULL THEN event.category END,
    CASE WHEN kind.id IS NULL THEN event.name END,
    CASE WHEN session.id IS NULL THEN event.session END,
    CASE WHEN event.source IN (3, 4) THEN event.data END
FROM log.event
LEFT JOIN kind ON
    kind.app = event.app AND kind.source = event.source
    AND kind.category = event.category AND kind.name = event.name
LEFT JOIN session ON session.text = event.session
WHERE event.id IN (SELECT id FROM log.change WHERE n > :change AND id <= :after)
AND event.data IS NOT NULL;
