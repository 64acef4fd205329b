SELECT
    ${label:tenant_id} AS tenant,
    usd AS cost,
    usd / nullIf(sum(usd) OVER (), 0) AS share,
    usd / nullIf(usd_before, 0) - 1 AS change,
    n AS sessions,
    usd / nullIf(n, 0) AS per_session,
    done AS tasks,
    usd / nullIf(done, 0) AS per_task
FROM
(
    SELECT
        tenant_id,
        toFloat64(sumIf(cost_usd, NOT before)) AS usd,
        toFloat64(sumIf(cost_usd, before)) AS usd_before
    FROM ${both_weeks}
    GROUP BY tenant_id
) AS costs
LEFT JOIN (SELECT tenant_id, uniqMerge(sessions) AS n FROM ${people_by_tenant} GROUP BY tenant_id) AS people USING (tenant_id)
LEFT JOIN (SELECT tenant_id, count() AS done FROM ${table:tasks} GROUP BY tenant_id) AS ended USING (tenant_id)
WHERE usd > 0 OR n > 0
ORDER BY cost DESC, tenant
LIMIT 100;
