-- Versions of prompts by their model calls.
SELECT
    prompt_name AS prompt,
    ${label:prompt_version} AS version,
    sum(calls) AS total,
    sum(errors) / total AS error_rate,
    ${percentiles:latency}[1] AS p50_ms,
    ${percentiles:latency}[2] AS p95_ms,
    if(isFinite(${percentiles:ttft}[2] AS ttft_p95), ttft_p95, NULL) AS ttft_p95_ms,
    sum(tokens_prompt) / total AS tokens_in,
    sum(tokens_completion) / total AS tokens_out,
    toFloat64(sum(cost_usd)) / total AS usd_per_call,
    max(time) AS latest
FROM ${rollup_over_time}
WHERE prompt_name != '' AND kind IN ('llm', 'embedding', 'rerank')
GROUP BY prompt_name, prompt_version
ORDER BY prompt, arrayMap(n -> toUInt64OrZero(n), extractAll(toString(prompt_version), '\\d+')), version
LIMIT 200;
