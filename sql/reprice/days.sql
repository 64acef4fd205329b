-- The same for the day, which is made from the hours.
SELECT
    day, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
    sum(d.calls) AS calls, sum(d.unpriced) AS unpriced, sum(d.cost_usd) AS cost_usd,
    toDateTime64(0, 3, 'UTC') AS newest
FROM
(
    SELECT
        toDate(hour) AS day, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry,
        toInt64(sum(h.calls)) AS calls, toInt64(sum(h.unpriced)) AS unpriced, sum(h.cost_usd) AS cost_usd
    FROM agent_metrics_1h_state AS h
    WHERE toDate(hour) = toDate({day:UInt16})
    GROUP BY day, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry
    UNION ALL
    SELECT day, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry,
        -toInt64(sum(s.calls)), -toInt64(sum(s.unpriced)), -sum(s.cost_usd)
    FROM agent_metrics_1d_state AS s
    WHERE s.day = toDate({day:UInt16})
    GROUP BY day, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry
) AS d
GROUP BY day, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry
HAVING unpriced != 0 OR cost_usd != 0;
