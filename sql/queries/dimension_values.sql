-- Values of the rollups' dimensions in the last day, for guard's cardinality limits: (column, values).
SELECT pair.1 AS column, groupUniqArray(pair.2) AS values
FROM
(
    SELECT arrayJoin([
        ('tenant_id', tenant_id), ('env', env), ('service', service), ('agent', agent),
        ('workflow', workflow), ('kind', kind), ('operation', operation), ('provider', provider),
        ('model', model), ('route', route), ('tool_name', tool_name), ('prompt_name', prompt_name),
        ('prompt_version', prompt_version), ('experiment', experiment), ('variant', variant)
    ]) AS pair
    FROM agent_metrics_1h_state
    WHERE hour >= now() - INTERVAL 1 DAY
)
GROUP BY column
FORMAT JSONEachRow;
