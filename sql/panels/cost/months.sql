-- Per tenant what the month of the range's end (UTC) has cost so far, and will have cost at its end if it goes on as in
-- the last seven days, or as since the first cost where there are fewer.
WITH
    toDateTime(toStartOfMonth($__toTime, 'UTC'), 'UTC') AS month,
    $__toTime - 604800 AS week,
    toUnixTimestamp($__toTime) - greatest(toUnixTimestamp(week), toUnixTimestamp(any(first))) AS seconds
SELECT
    tenant_id,
    toFloat64(sumIf(cost_usd, hour >= month)) AS spent,
    toFloat64(sumIf(cost_usd, hour >= week)) / greatest(seconds, 3600) AS usd_per_second,
    spent + usd_per_second * (toUnixTimestamp(addMonths(month, 1)) - toUnixTimestamp($__toTime)) AS forecast
FROM
(
    SELECT hour, tenant_id, cost_usd, min(if(cost_usd > 0, hour, $__toTime)) OVER () AS first
    FROM agent_metrics_1h_state
    WHERE hour >= least(month, week - 604800) AND hour <= $__toTime AND ${filters}
)
GROUP BY tenant_id;
