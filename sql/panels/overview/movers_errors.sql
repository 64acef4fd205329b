-- Of tenants and services the requests, of agents their runs, of models their calls.
SELECT
    pair.1 AS dimension,
    if(pair.2 = '', '(none)', pair.2) AS value,
    sumIf(failed, NOT before) AS errors,
    sumIf(failed, before) AS week_before,
    errors / nullIf(sumIf(n, NOT before), 0) AS error_rate,
    week_before / nullIf(sumIf(n, before), 0) AS rate_before
FROM
(
    SELECT
        tenant_id, service, agent, model, entry, kind = 'agent' AS of_agent,
        kind IN ('llm', 'embedding', 'rerank') AS of_model, before,
        sum(calls) AS n, sum(errors) AS failed
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
HAVING errors != week_before
ORDER BY abs(toInt64(errors) - toInt64(week_before)) DESC, dimension, value
LIMIT 12;
