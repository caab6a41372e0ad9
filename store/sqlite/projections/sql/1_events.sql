-- The next events. A blanked one is in no index, and counts as before.
INSERT INTO step
SELECT
    event.id, event.data IS NOT NULL, 1, event.app, event.source, event.at, kind.id,
    event.session_key,
    CASE WHEN kind.id IS NULL THEN event.category END,
    CASE WHEN kind.id IS NULL THEN event.name END,
    CASE WHEN event.source IN (2, 3, 4) THEN coalesce(
        event.data, (SELECT data FROM log.remains WHERE remains.id = event.id)
    ) END,
    event.user
FROM log.event
LEFT JOIN kind ON
    kind.app = event.app AND kind.source = event.source
    AND kind.category = event.category AND kind.name = event.name
WHERE event.id > :after AND event.id <= :last;
