-- Story events (source 2); one that does not tell of a story counts for none.
INSERT INTO story_day
SELECT day, app, story, kind, sum(counts)
FROM (
    SELECT
        (at + 62135596800000000) / 86400000000 AS day, app, kind, counts,
        CASE WHEN json_valid(data) THEN data ->> 'story_id' END AS story
    FROM step WHERE source = 2 AND counts != 0 AND at >= (SELECT sealed FROM log.log)
)
WHERE typeof(story) = 'integer'
GROUP BY 1, 2, 3, 4
ON CONFLICT DO UPDATE SET events = events + excluded.events;
