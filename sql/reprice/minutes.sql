-- By how much the minutes of a day differ in cost from the rows. An insert that is under way shows in the calls.
SELECT
    minute, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
    sum(d.calls) AS calls, sum(d.unpriced) AS unpriced, sum(d.cost_usd) AS cost_usd, max(d.newest) AS newest
FROM
(
    SELECT
        toStartOfMinute(ts) AS minute, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
        toInt64(count()) AS calls, toInt64(countIf(cost_source = 'unpriced')) AS unpriced,
        sum(e.cost_usd) AS cost_usd, max(ingested_at) AS newest
    FROM agent_events AS e
    WHERE toDate(ts) = toDate({day:UInt16})
    GROUP BY minute, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry
    UNION ALL
    SELECT
        minute, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
        -toInt64(sum(s.calls)), -toInt64(sum(s.unpriced)), -sum(s.cost_usd), toDateTime64(0, 3, 'UTC')
    FROM agent_metrics_1m_state AS s
    WHERE toDate(minute) = toDate({day:UInt16})
    GROUP BY minute, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry
) AS d
GROUP BY minute, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry
HAVING unpriced != 0 OR cost_usd != 0;
