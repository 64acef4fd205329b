-- Users of each day (UTC), and of the 7 and 30 days that end with it.
SELECT
    if($__toTime - $__fromTime < 86400, greatest(toDateTime(day, 'UTC'), toDateTime($__fromTime, 'UTC')),
        toDateTime(day, 'UTC')) AS time,
    uniqMergeIf(a.users, back < 1) AS daily,
    uniqMergeIf(a.users, back < 7) AS weekly,
    uniqMerge(a.users) AS monthly
FROM ${table:active_days} AS a
GROUP BY day
ORDER BY day;
