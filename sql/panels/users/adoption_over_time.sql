-- Users by route.
SELECT ${bucket} AS time, route AS name, uniqMerge(r.users) AS users
FROM ${rollup_over_time} AS r
WHERE entry AND route != ''
GROUP BY time, name
ORDER BY time, name;
