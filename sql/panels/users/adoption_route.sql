-- Users by route, and their share of all users in the range.
SELECT
    route AS route,
    uniqMerge(r.users) AS users,
    users / nullIf((SELECT uniqMerge(users) FROM ${people}), 0) AS of_all_users,
    sum(r.calls) AS calls,
    calls / nullIf(users, 0) AS calls_per_user,
    sum(errors) / calls AS error_rate
FROM ${rollup} AS r
WHERE entry AND route != ''
GROUP BY route
ORDER BY users DESC, calls DESC, route
LIMIT 100;
