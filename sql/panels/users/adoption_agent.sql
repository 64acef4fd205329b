-- Users by agent, and their share of all users in the range.
SELECT
    agent AS agent,
    uniqMerge(r.users) AS users,
    users / nullIf((SELECT uniqMerge(users) FROM ${people}), 0) AS of_all_users,
    sum(r.calls) AS calls,
    calls / nullIf(users, 0) AS calls_per_user,
    sum(errors) / calls AS error_rate
FROM ${rollup} AS r
WHERE agent != ''
GROUP BY agent
ORDER BY users DESC, calls DESC, agent
LIMIT 100;
