-- Add to a minute (unix seconds of its start) of the rollup what it lacks of the rows, and take off what it
-- has too much: sums of unsigned numbers wrap around.
INSERT INTO agent_metrics_1m_state
(
    minute, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
    calls, errors, unpriced, latency_histogram, ttft_histogram, tokens_prompt, tokens_completion, tokens_cache_read,
    tokens_cache_write, tokens_reasoning, cost_usd, users, sessions
)
SELECT
    minute, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
    toUInt64(sum(d.calls)), toUInt64(sum(d.errors)), toUInt64(sum(d.unpriced)),
    CAST(sumMap(d.latency_histogram), 'Map(Int16, UInt64)'), CAST(sumMap(d.ttft_histogram), 'Map(Int16, UInt64)'),
    toUInt64(sum(d.tokens_prompt)), toUInt64(sum(d.tokens_completion)), toUInt64(sum(d.tokens_cache_read)),
    toUInt64(sum(d.tokens_cache_write)), toUInt64(sum(d.tokens_reasoning)), sum(d.cost_usd),
    uniqMergeState(d.users), uniqMergeState(d.sessions)
FROM
(
    SELECT
        toStartOfMinute(ts) AS minute,
        tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry,
        toInt64(count()) AS calls,
        toInt64(countIf(status = 'error')) AS errors,
        toInt64(countIf(cost_source = 'unpriced')) AS unpriced,
        sumMap(map(toInt16(ceil(log2(greatest(e.latency_ms, 0.000001)) * 32) - 1), toInt64(1))) AS latency_histogram,
        sumMapIf(
            map(toInt16(ceil(log2(greatest(ifNull(e.ttft_ms, 0), 0.000001)) * 32) - 1), toInt64(1)),
            isNotNull(e.ttft_ms)
        ) AS ttft_histogram,
        toInt64(sum(e.tokens_prompt)) AS tokens_prompt,
        toInt64(sum(e.tokens_completion)) AS tokens_completion,
        toInt64(sum(e.tokens_cache_read)) AS tokens_cache_read,
        toInt64(sum(e.tokens_cache_write)) AS tokens_cache_write,
        toInt64(sum(e.tokens_reasoning)) AS tokens_reasoning,
        sum(e.cost_usd) AS cost_usd,
        uniqState(nullIf(user_id_hash, '')) AS users,
        uniqState(nullIf(session_id, '')) AS sessions
    FROM agent_events AS e
    WHERE toUnixTimestamp(toStartOfMinute(ts)) = {began:UInt32}
    GROUP BY
        minute,
        tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry
    UNION ALL
    SELECT
        minute,
        tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry,
        -toInt64(sum(s.calls)), -toInt64(sum(s.errors)), -toInt64(sum(s.unpriced)),
        mapApply((bucket, n) -> (bucket, -n), CAST(sumMap(s.latency_histogram), 'Map(Int16, Int64)')),
        mapApply((bucket, n) -> (bucket, -n), CAST(sumMap(s.ttft_histogram), 'Map(Int16, Int64)')),
        -toInt64(sum(s.tokens_prompt)), -toInt64(sum(s.tokens_completion)), -toInt64(sum(s.tokens_cache_read)),
        -toInt64(sum(s.tokens_cache_write)), -toInt64(sum(s.tokens_reasoning)), -sum(s.cost_usd),
        uniqMergeStateIf(s.users, 0),
        uniqMergeStateIf(s.sessions, 0)
    FROM agent_metrics_1m_state AS s
    WHERE toUnixTimestamp(minute) = {began:UInt32}
    GROUP BY
        minute,
        tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry
) AS d
GROUP BY
    minute, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry
HAVING sum(d.calls) != 0 OR sum(d.tokens_prompt) != 0 OR sum(d.tokens_completion) != 0 OR sum(d.cost_usd) != 0
    OR arrayExists(n -> n != 0, mapValues(sumMap(d.latency_histogram)));
