-- Of the eight models with the most calls.
WITH top AS
(
    SELECT model
    FROM ${rollup}
    WHERE kind = 'llm'
    GROUP BY model
    ORDER BY sum(calls) DESC, model
    LIMIT 8
)
SELECT time, series AS model, p95
FROM
(
    SELECT ${bucket} AS time, ${label:model} AS series, ${percentiles:ttft}[2] AS p95
    FROM ${rollup_over_time}
    WHERE kind = 'llm' AND model IN (SELECT model FROM top)
    GROUP BY time, series
)
WHERE isFinite(p95)
ORDER BY time, model;
