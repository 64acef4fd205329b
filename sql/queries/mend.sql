-- Add to a minute, hour or day (unix seconds of its start, UTC) of a rollup what it lacks of what it is made of, and take off what
-- it has too much: sums of unsigned numbers wrap around.
INSERT INTO {rollup}
(
    {period}, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
    calls, errors, unpriced, latency_histogram, ttft_histogram, tokens_prompt, tokens_completion, tokens_cache_read,
    tokens_cache_write, tokens_reasoning, cost_usd, users, sessions
)
SELECT
    {period}, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry,
    toUInt64(sum(d.calls)), toUInt64(sum(d.errors)), toUInt64(sum(d.unpriced)),
    CAST(sumMap(d.latency_histogram), 'Map(Int16, UInt64)'), CAST(sumMap(d.ttft_histogram), 'Map(Int16, UInt64)'),
    toUInt64(sum(d.tokens_prompt)), toUInt64(sum(d.tokens_completion)), toUInt64(sum(d.tokens_cache_read)),
    toUInt64(sum(d.tokens_cache_write)), toUInt64(sum(d.tokens_reasoning)), sum(d.cost_usd),
    uniqMergeState(d.users), uniqMergeState(d.sessions)
FROM
(
    {made}
    UNION ALL
    SELECT
        {period},
        tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry,
        -toInt64(sum(s.calls)), -toInt64(sum(s.errors)), -toInt64(sum(s.unpriced)),
        mapApply((bucket, n) -> (bucket, -n), CAST(sumMap(s.latency_histogram), 'Map(Int16, Int64)')),
        mapApply((bucket, n) -> (bucket, -n), CAST(sumMap(s.ttft_histogram), 'Map(Int16, Int64)')),
        -toInt64(sum(s.tokens_prompt)), -toInt64(sum(s.tokens_completion)), -toInt64(sum(s.tokens_cache_read)),
        -toInt64(sum(s.tokens_cache_write)), -toInt64(sum(s.tokens_reasoning)), -sum(s.cost_usd),
        uniqMergeStateIf(s.users, 0),
        uniqMergeStateIf(s.sessions, 0)
    FROM {rollup} AS s
    WHERE toUnixTimestamp(toDateTime({period}, 'UTC')) = {began:UInt32}
    GROUP BY
        {period},
        tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
        prompt_name, prompt_version, experiment, variant, entry
) AS d
GROUP BY
    {period}, tenant_id, env, service, agent, workflow, kind, operation, provider, model, route, tool_name,
    prompt_name, prompt_version, experiment, variant, entry
HAVING sum(d.calls) != 0 OR sum(d.tokens_prompt) != 0 OR sum(d.tokens_completion) != 0 OR sum(d.cost_usd) != 0
    OR arrayExists(n -> n != 0, mapValues(sumMap(d.latency_histogram)));
