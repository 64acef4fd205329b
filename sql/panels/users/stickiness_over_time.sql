-- Of the users of the 30 days that end with a day (UTC) the share who came that day.
SELECT
    if($__toTime - $__fromTime < 86400, greatest(toDateTime(day, 'UTC'), toDateTime($__fromTime, 'UTC')),
        toDateTime(day, 'UTC')) AS time,
    uniqMergeIf(a.users, back < 1) / nullIf(uniqMerge(a.users), 0) AS stickiness
FROM ${table:active_days} AS a
GROUP BY day
HAVING isNotNull(stickiness)
ORDER BY day;
