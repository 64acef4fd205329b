-- The same for its hours, which are made from the minutes.
SELECT
    hour, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
    sum(d.calls) AS calls, sum(d.unpriced) AS unpriced, sum(d.cost_usd) AS cost_usd,
    toDateTime64(0, 3, 'UTC') AS newest
FROM
(
    SELECT
        toStartOfHour(minute) AS hour, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
        toInt64(sum(m.calls)) AS calls, toInt64(sum(m.unpriced)) AS unpriced, sum(m.cost_usd) AS cost_usd
    FROM agent_metrics_1m_state AS m
    WHERE toDate(minute) = toDate({day:UInt16})
    GROUP BY hour, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry
    UNION ALL
    SELECT hour, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry, -toInt64(sum(s.calls)), -toInt64(sum(s.unpriced)), -sum(s.cost_usd)
    FROM agent_metrics_1h_state AS s
    WHERE toDate(hour) = toDate({day:UInt16})
    GROUP BY hour, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry
) AS d
GROUP BY hour, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry
HAVING unpriced != 0 OR cost_usd != 0;
