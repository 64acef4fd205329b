-- Per budget, the share of it that is used in the month (in UTC) in which the time range ends.
SELECT
    if(b.tenant_id = '', '(all)', b.tenant_id) AS tenant,
    sumIf(c.usd, b.tenant_id = '' OR b.tenant_id = c.tenant_id) / b.usd_per_month AS used
FROM budgets AS b
CROSS JOIN
(
    SELECT tenant_id, toFloat64(sum(cost_usd)) AS usd
    FROM agent_metrics_1h_state
    WHERE hour >= toDateTime(toStartOfMonth(toTimeZone($__toTime, 'UTC')), 'UTC') AND hour <= $__toTime
    GROUP BY tenant_id
) AS c
WHERE b.usd_per_month > 0
GROUP BY b.tenant_id, b.usd_per_month;
