-- The days (UTC) of the range, each with the users of the 30 days that end with it and how many days back they came.
SELECT active + back AS day, back, users
FROM
(
    SELECT toDate(hour) AS active, uniqMergeState(h.users) AS users
    FROM agent_metrics_1h_state AS h
    WHERE hour >= toStartOfDay($__fromTime, 'UTC') - INTERVAL 29 DAY AND hour <= $__toTime AND ${filters}
    GROUP BY active
)
ARRAY JOIN range(30) AS back
WHERE day >= toDate($__fromTime, 'UTC') AND day <= toDate($__toTime, 'UTC');
