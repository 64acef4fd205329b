SELECT
    ${label:provider} AS provider,
    ${label:model} AS model,
    n AS calls,
    failed / nullIf(n, 0) AS error_rate,
    if(isFinite(now[1]), now[1], NULL) AS p50,
    if(isFinite(now[2]), now[2], NULL) AS p95,
    if(isFinite(now[3]), now[3], NULL) AS p99,
    if(isFinite(earlier), earlier, NULL) AS p95_before,
    if(isFinite(first_token), first_token, NULL) AS ttft
FROM
(
    SELECT
        provider, model,
        sumIf(calls, NOT before) AS n,
        sumIf(errors, NOT before) AS failed,
        ${percentiles:latency if NOT before} AS now,
        ${percentiles:latency if before}[2] AS earlier,
        ${percentiles:ttft if NOT before}[2] AS first_token
    FROM ${both_weeks}
    WHERE kind IN ('llm', 'embedding', 'rerank')
    GROUP BY provider, model
    HAVING n > 0
)
ORDER BY p95 DESC, provider, model
LIMIT 100;
