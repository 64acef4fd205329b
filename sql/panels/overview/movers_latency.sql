-- Of tenants and services the requests, of agents their runs, of models their calls; a percentile of few says nothing.
SELECT dimension, value, calls, p95, week_before, p95 - week_before AS difference, difference / nullIf(week_before, 0) AS change
FROM
(
    SELECT
        dimension, if(name = '', '(none)', name) AS value,
        sumIf(c.calls, NOT before) AS calls,
        sumIf(c.calls, before) AS calls_before,
        ${percentiles:latency if NOT before}[2] AS p95,
        ${percentiles:latency if before}[2] AS week_before
    FROM
    (
        SELECT 'tenant' AS dimension, toString(tenant_id) AS name, calls, latency_histogram, before
        FROM ${both_weeks} WHERE entry
        UNION ALL
        SELECT 'service', toString(service), calls, latency_histogram, before FROM ${both_weeks} WHERE entry
        UNION ALL
        SELECT 'agent', toString(agent), calls, latency_histogram, before FROM ${both_weeks} WHERE kind = 'agent'
        UNION ALL
        SELECT 'model', toString(model), calls, latency_histogram, before
        FROM ${both_weeks} WHERE kind IN ('llm', 'embedding', 'rerank')
    ) AS c
    GROUP BY dimension, value
    HAVING calls >= 20 AND calls_before >= 20
)
ORDER BY abs(difference) DESC, dimension, value
LIMIT 12;
