-- Model calls with a prompt's name.
SELECT
    prompt_name, toString(prompt_version) AS prompt_version, status = 'error' AS failed, latency_ms,
    isNotNull(ttft_ms) AND NOT failed AS has_ttft, ifNull(ttft_ms, 0) AS ttft, tokens_completion,
    toFloat64(cost_usd) AS cost
FROM agent_events
WHERE $__timeFilter(ts) AND ${filters} AND prompt_name != '' AND kind IN ('llm', 'embedding', 'rerank');
