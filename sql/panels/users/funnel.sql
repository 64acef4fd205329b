-- Tasks by how far they got, each step of those before it: traces with their root in the range, of which any span
-- passes the filters.
SELECT reached.1 AS step, reached.2 AS tasks
FROM
(
    SELECT arrayJoin([
        ('requests', count()),
        ('reached an agent', countIf(in_agent)),
        ('called a tool', countIf(in_agent AND in_tool)),
        ('a tool answered', countIf(in_agent AND answered)),
        ('succeeded', countIf(in_agent AND answered AND succeeded))
    ]) AS reached
    FROM
    (
        SELECT
            max(kind = 'agent') AS in_agent,
            max(kind IN ('tool', 'mcp')) AS in_tool,
            max(kind IN ('tool', 'mcp') AND status != 'error') AS answered,
            max(parent_span_id = '' AND status != 'error') AS succeeded
        FROM agent_events
        WHERE $__timeFilter(ts) AND ${of_tenants}
        GROUP BY cityHash64(trace_id)
        HAVING max(parent_span_id = '') AND max(${filters})
    )
);
