-- What an hour or a day has by the finer rollup, as numbers that can be taken off; see rollups.ROLLUPS.
SELECT
    {start} AS {period},
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
    toInt64(sum(m.calls)) AS calls,
    toInt64(sum(m.errors)) AS errors,
    toInt64(sum(m.unpriced)) AS unpriced,
    CAST(sumMap(m.latency_histogram), 'Map(Int16, Int64)') AS latency_histogram,
    CAST(sumMap(m.ttft_histogram), 'Map(Int16, Int64)') AS ttft_histogram,
    toInt64(sum(m.tokens_prompt)) AS tokens_prompt,
    toInt64(sum(m.tokens_completion)) AS tokens_completion,
    toInt64(sum(m.tokens_cache_read)) AS tokens_cache_read,
    toInt64(sum(m.tokens_cache_write)) AS tokens_cache_write,
    toInt64(sum(m.tokens_reasoning)) AS tokens_reasoning,
    sum(m.cost_usd) AS cost_usd,
    uniqMergeState(m.users) AS users,
    uniqMergeState(m.sessions) AS sessions
FROM {finer} AS m
WHERE toUnixTimestamp(toDateTime({start}, 'UTC')) = {began:UInt32}
GROUP BY
    {period},
    tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry;
