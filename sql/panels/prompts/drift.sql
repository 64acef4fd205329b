-- Each model in the range against the range of the same length before it.
SELECT
    ${label:model} AS model,
    sumIf(r.calls, now_) AS calls,
    sumIf(r.calls, NOT now_) AS calls_before,
    sumIf(errors, now_) / nullIf(calls, 0) AS error_rate,
    sumIf(errors, NOT now_) / nullIf(calls_before, 0) AS error_rate_before,
    if(calls > 0, quantilesTDigestMergeIf(0.5, 0.95, 0.99)(latency, now_)[2], NULL) AS p95_ms,
    if(calls_before > 0, quantilesTDigestMergeIf(0.5, 0.95, 0.99)(latency, NOT now_)[2], NULL) AS p95_before,
    sumIf(tokens_completion, now_) / nullIf(calls, 0) AS tokens_out,
    sumIf(tokens_completion, NOT now_) / nullIf(calls_before, 0) AS tokens_out_before,
    tokens_out / nullIf(tokens_out_before, 0) - 1 AS tokens_out_change,
    p95_ms / nullIf(p95_before, 0) - 1 AS p95_change
FROM
(
    SELECT minute >= toStartOfMinute($__fromTime) AS now_, model, calls, errors, latency, tokens_completion
    FROM agent_metrics_1m_state
    WHERE $__toTime - $__fromTime <= 172800
        AND minute >= toStartOfMinute($__fromTime) - ($__toTime - $__fromTime) AND minute <= $__toTime
        AND kind IN ('llm', 'embedding', 'rerank') AND ${filters}
    UNION ALL
    SELECT hour >= toStartOfHour($__fromTime), model, calls, errors, latency, tokens_completion
    FROM agent_metrics_1h_state
    WHERE $__toTime - $__fromTime > 172800
        AND hour >= toStartOfHour($__fromTime) - ($__toTime - $__fromTime) AND hour <= $__toTime
        AND kind IN ('llm', 'embedding', 'rerank') AND ${filters}
) AS r
GROUP BY model
ORDER BY greatest(calls, calls_before) DESC, model
LIMIT 100;
