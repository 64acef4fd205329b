-- How many rows lack a name that dashboards filter by, of those that should have it.
SELECT named.1 AS column_name, named.2 / nullIf(named.3, 0) AS rows_without, named.2 AS rows
FROM
(
    SELECT arrayJoin([
        ('tenant_id', countIf(tenant_id = ''), count()),
        ('service', countIf(service = ''), count()),
        ('env', countIf(env = ''), count()),
        ('session_id', countIf(session_id = ''), count()),
        ('user_id_hash', countIf(user_id_hash = ''), count()),
        ('route of requests', countIf(entry AND route = ''), countIf(entry)),
        ('model of model calls', countIf(kind IN ('llm', 'embedding', 'rerank') AND model = ''),
            countIf(kind IN ('llm', 'embedding', 'rerank'))),
        ('tool_name of tool calls', countIf(kind IN ('tool', 'mcp') AND tool_name = ''),
            countIf(kind IN ('tool', 'mcp'))),
        ('kind', countIf(kind = 'other'), count())
    ]) AS named
    FROM agent_events
    WHERE ingested_at >= $__fromTime AND ingested_at <= $__toTime AND ${filters}
)
WHERE isNotNull(rows_without)
ORDER BY rows_without DESC, column_name;
