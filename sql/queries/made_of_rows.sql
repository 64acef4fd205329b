-- What a minute has by the rows, as numbers that can be taken off.
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
    prompt_name, prompt_version, experiment, variant, entry;
