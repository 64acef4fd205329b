-- Users by tool, and their share of all users in the range.
SELECT
    tool_name AS tool,
    uniqMerge(r.users) AS users,
    users / nullIf((SELECT uniqMerge(users) FROM ${people}), 0) AS of_all_users,
    sum(r.calls) AS calls,
    calls / nullIf(users, 0) AS calls_per_user,
    sum(errors) / calls AS error_rate
FROM ${rollup} AS r
WHERE kind IN ('tool', 'mcp') AND tool_name != ''
GROUP BY tool_name
ORDER BY users DESC, calls DESC, tool
LIMIT 100;
