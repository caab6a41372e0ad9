-- Numbers for the kinds that are new.
INSERT INTO kind (app, source, category, name)
SELECT DISTINCT app, source, category, name FROM step
WHERE kind IS NULL AND category IS NOT NULL;

UPDATE step SET kind = (
    SELECT kind.id FROM kind
    WHERE kind.app = step.app AND kind.source = step.source
    AND kind.category = step.category AND kind.name = step.name
)
WHERE kind IS NULL;

-- Of a change: what it was of has never been in the views.
DELETE FROM step WHERE kind IS NULL;
