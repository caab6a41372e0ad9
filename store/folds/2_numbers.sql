-- Numbers for the kinds and sessions that are new.
INSERT INTO kind (app, source, category, name)
SELECT DISTINCT app, source, category, name FROM step
WHERE kind IS NULL AND category IS NOT NULL;

UPDATE step SET kind = (
    SELECT kind.id FROM kind
    WHERE kind.app = step.app AND kind.source = step.source
    AND kind.category = step.category AND kind.name = step.name
)
WHERE kind IS NULL;

INSERT INTO session (text, id)
SELECT said, (SELECT sessions FROM place) + row_number() OVER (ORDER BY min(id))
FROM step WHERE said IS NOT NULL GROUP BY said;

UPDATE place SET sessions = (SELECT sessions FROM place) + (
    SELECT count(DISTINCT said) FROM step
);

UPDATE step SET session = (SELECT session.id FROM session WHERE session.text = step.said)
WHERE said IS NOT NULL;

-- Of a change: what it was of has never been in the views.
DELETE FROM step WHERE kind IS NULL;
