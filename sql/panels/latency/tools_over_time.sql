-- Of the eight tools with the most calls.
WITH top AS
(
    SELECT tool_name
    FROM ${rollup}
    WHERE kind IN ('tool', 'mcp')
    GROUP BY tool_name
    ORDER BY sum(calls) DESC, tool_name
    LIMIT 8
)
SELECT ${bucket} AS time, ${label:tool_name} AS tool, 1 - sum(errors) / sum(calls) AS success
FROM ${rollup_over_time}
WHERE kind IN ('tool', 'mcp') AND tool_name IN (SELECT tool_name FROM top)
GROUP BY time, tool
ORDER BY time, tool;
