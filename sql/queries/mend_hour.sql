-- The same for an hour (unix seconds of its start), from the minutes' rollup.
INSERT INTO agent_metrics_1h_state
(
    hour, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry, calls, errors, unpriced, latency, ttft, tokens_prompt,
    tokens_completion, tokens_cache_read, tokens_cache_write, tokens_reasoning, cost_usd, users, sessions
)
SELECT
    hour, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
    toUInt64(sum(d.calls)), toUInt64(sum(d.errors)), toUInt64(sum(d.unpriced)),
    quantilesTDigestMergeState(0.5, 0.95, 0.99)(d.latency), quantilesTDigestMergeState(0.5, 0.95, 0.99)(d.ttft),
    toUInt64(sum(d.tokens_prompt)), toUInt64(sum(d.tokens_completion)), toUInt64(sum(d.tokens_cache_read)),
    toUInt64(sum(d.tokens_cache_write)), toUInt64(sum(d.tokens_reasoning)), sum(d.cost_usd),
    uniqMergeState(d.users), uniqMergeState(d.sessions)
FROM
(
    SELECT
        toStartOfHour(minute) AS hour, tenant_id, env, service, agent, workflow, kind, operation, provider, model,
        route, tool_name, prompt_name, prompt_version, experiment, variant, entry,
        toInt64(sum(m.calls)) AS calls,
        toInt64(sum(m.errors)) AS errors,
        toInt64(sum(m.unpriced)) AS unpriced,
        quantilesTDigestMergeState(0.5, 0.95, 0.99)(m.latency) AS latency,
        quantilesTDigestMergeState(0.5, 0.95, 0.99)(m.ttft) AS ttft,
        toInt64(sum(m.tokens_prompt)) AS tokens_prompt,
        toInt64(sum(m.tokens_completion)) AS tokens_completion,
        toInt64(sum(m.tokens_cache_read)) AS tokens_cache_read,
        toInt64(sum(m.tokens_cache_write)) AS tokens_cache_write,
        toInt64(sum(m.tokens_reasoning)) AS tokens_reasoning,
        sum(m.cost_usd) AS cost_usd,
        uniqMergeState(m.users) AS users,
        uniqMergeState(m.sessions) AS sessions
    FROM agent_metrics_1m_state AS m
    WHERE toUnixTimestamp(toStartOfHour(minute)) = {period:UInt32}
    GROUP BY
        hour, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry
    UNION ALL
    SELECT
        hour, tenant_id, env, service, agent, workflow, kind, operation, provider, model,
        route, tool_name, prompt_name, prompt_version, experiment, variant, entry,
        -toInt64(sum(s.calls)), -toInt64(sum(s.errors)), -toInt64(sum(s.unpriced)),
        quantilesTDigestMergeStateIf(0.5, 0.95, 0.99)(s.latency, 0),
        quantilesTDigestMergeStateIf(0.5, 0.95, 0.99)(s.ttft, 0),
        -toInt64(sum(s.tokens_prompt)), -toInt64(sum(s.tokens_completion)), -toInt64(sum(s.tokens_cache_read)),
        -toInt64(sum(s.tokens_cache_write)), -toInt64(sum(s.tokens_reasoning)), -sum(s.cost_usd),
        uniqMergeStateIf(s.users, 0),
        uniqMergeStateIf(s.sessions, 0)
    FROM agent_metrics_1h_state AS s
    WHERE toUnixTimestamp(hour) = {period:UInt32}
    GROUP BY
        hour, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry
) AS d
GROUP BY
    hour, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry
HAVING sum(d.calls) != 0 OR sum(d.tokens_prompt) != 0 OR sum(d.tokens_completion) != 0 OR sum(d.cost_usd) != 0;
