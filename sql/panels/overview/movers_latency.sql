-- Of tenants and services the requests, of agents their runs, of models their calls; a percentile of few says nothing.
SELECT dimension, value, calls, p95, week_before, p95 - week_before AS difference, difference / nullIf(week_before, 0) AS change
FROM
(
    SELECT
        pair.1 AS dimension,
        if(pair.2 = '', '(none)', pair.2) AS value,
        sumIf(n, NOT before) AS calls,
        sumIf(n, before) AS calls_before,
        ${percentiles:n if NOT before}[2] AS p95,
        ${percentiles:n if before}[2] AS week_before
    FROM
    (
        SELECT
            tenant_id, service, agent, model, entry, kind = 'agent' AS of_agent,
            kind IN ('llm', 'embedding', 'rerank') AS of_model, before,
            sum(calls) AS n, sumMap(latency_histogram) AS n_histogram
        FROM ${both_weeks}
        WHERE entry OR of_agent OR of_model
        GROUP BY tenant_id, service, agent, model, entry, of_agent, of_model, before
    )
    ARRAY JOIN arrayConcat(
        if(entry, [('tenant', toString(tenant_id)), ('service', toString(service))], []),
        if(of_agent, [('agent', toString(agent))], []),
        if(of_model, [('model', toString(model))], [])
    ) AS pair
    GROUP BY dimension, value
    HAVING calls >= 20 AND calls_before >= 20
)
ORDER BY abs(difference) DESC, dimension, value
LIMIT 12;
