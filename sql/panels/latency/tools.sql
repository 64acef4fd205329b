-- A tool behind an MCP server has calls of two services: the one that calls it and the one that runs it.
SELECT
    ${label:tool_name} AS tool,
    ${label:service} AS service,
    n AS runs,
    1 - failed / nullIf(n, 0) AS success,
    1 - failed_before / nullIf(n_before, 0) AS success_before,
    failed AS errors,
    if(isFinite(p[1]), p[1], NULL) AS p50,
    if(isFinite(p[2]), p[2], NULL) AS p95
FROM
(
    SELECT
        tool_name,
        service,
        sumIf(calls, NOT before) AS n,
        sumIf(errors, NOT before) AS failed,
        sumIf(calls, before) AS n_before,
        sumIf(errors, before) AS failed_before,
        ${percentiles:latency if NOT before} AS p
    FROM ${both_weeks}
    WHERE kind IN ('tool', 'mcp')
    GROUP BY tool_name, service
    HAVING n > 0
)
ORDER BY success, tool, service
LIMIT 100;
