-- The days (UTC) of the range, each with the users of the 30 days that end with it and how many days back they came.
SELECT active + back AS day, back, users
FROM
(
    SELECT r.day AS active, uniqMergeState(r.users) AS users
    FROM agent_metrics_1d_state AS r
    WHERE r.day >= toDate($__fromTime, 'UTC') - 29 AND r.day <= toDate($__toTime, 'UTC') AND ${filters}
    GROUP BY active
)
ARRAY JOIN range(30) AS back
WHERE day >= toDate($__fromTime, 'UTC') AND day <= toDate($__toTime, 'UTC');
