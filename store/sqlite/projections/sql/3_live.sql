-- Clicks (source 3) and conversions (4); a row that does not tell of a banner counts for none.
INSERT INTO live
SELECT
    slot, campaign, banner, sum(counts * (source = 3)), sum(counts * (source = 4)),
    sum(counts * (revenue >> 32)), sum(counts * (revenue & 4294967295))
FROM (
    SELECT
        counts, source, data ->> 'slot' AS slot, data ->> 'campaign' AS campaign,
        data ->> 'banner' AS banner, coalesce(data ->> 'revenue_micros', 0) AS revenue
    FROM step WHERE source IN (3, 4) AND data IS NOT NULL AND json_valid(data)
)
WHERE slot IN (1, 2, 3, 4) AND typeof(campaign) = 'integer' AND typeof(banner) = 'integer'
AND typeof(revenue) = 'integer' AND revenue >= 0
GROUP BY 1, 2, 3
ON CONFLICT DO UPDATE SET
    clicks = clicks + excluded.clicks,
    conversions = conversions + excluded.conversions,
    high = high + excluded.high,
    low = low + excluded.low;
