-- US dollars a minute; beyond the eight most expensive all are one.
WITH top AS
(
    SELECT tenant_id
    FROM ${rollup}
    GROUP BY tenant_id
    HAVING sum(cost_usd) > 0
    ORDER BY sum(cost_usd) DESC, tenant_id
    LIMIT 8
)
SELECT time, series AS tenant, 60 * toFloat64(sum(cost_usd)) / ${seconds} AS cost
FROM
(
    SELECT ${bucket} AS time, if(tenant_id IN (SELECT tenant_id FROM top), ${label:tenant_id}, 'other') AS series, cost_usd
    FROM ${rollup_over_time}
    WHERE cost_usd > 0
)
GROUP BY time, tenant
ORDER BY time, tenant;
