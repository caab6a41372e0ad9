-- The next events.
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
WHERE event.id > :after AND event.id <= :last AND event.data IS NOT NULL;
