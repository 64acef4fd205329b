-- Each model in the range against the range of the same length before it.
SELECT
    ${label:model} AS model,
    sumIf(r.calls, now_) AS calls,
    sumIf(r.calls, NOT now_) AS calls_before,
    sumIf(errors, now_) / nullIf(calls, 0) AS error_rate,
    sumIf(errors, NOT now_) / nullIf(calls_before, 0) AS error_rate_before,
    if(calls > 0, ${percentiles:latency if now_}[2], NULL) AS p95_ms,
    if(calls_before > 0, ${percentiles:latency if NOT now_}[2], NULL) AS p95_before,
    sumIf(tokens_completion, now_) / nullIf(calls, 0) AS tokens_out,
    sumIf(tokens_completion, NOT now_) / nullIf(calls_before, 0) AS tokens_out_before,
    tokens_out / nullIf(tokens_out_before, 0) - 1 AS tokens_out_change,
    p95_ms / nullIf(p95_before, 0) - 1 AS p95_change
FROM
(
    SELECT *, true AS now_ FROM ${rollup}
    UNION ALL
    SELECT *, false AS now_ FROM ${rollup_range_before}
) AS r
WHERE kind IN ('llm', 'embedding', 'rerank')
GROUP BY model
ORDER BY greatest(calls, calls_before) DESC, model
LIMIT 100;
