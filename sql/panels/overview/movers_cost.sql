SELECT
    pair.1 AS dimension,
    if(pair.2 = '', '(none)', pair.2) AS value,
    toFloat64(sumIf(usd, NOT before)) AS cost,
    toFloat64(sumIf(usd, before)) AS week_before,
    cost - week_before AS difference,
    difference / nullIf(week_before, 0) AS change
FROM
(
    SELECT tenant_id, model, agent, service, before, sum(cost_usd) AS usd
    FROM ${both_weeks}
    GROUP BY tenant_id, model, agent, service, before
    HAVING usd > 0
)
ARRAY JOIN
    [('tenant', toString(tenant_id)), ('model', toString(model)), ('agent', toString(agent)),
     ('service', toString(service))] AS pair
GROUP BY dimension, value
HAVING difference != 0
ORDER BY abs(difference) DESC, dimension, value
LIMIT 12;
