SELECT
    ${bucket} AS time,
    60 * toFloat64(sumIf(cost_usd, NOT before)) / ${seconds} AS cost,
    60 * toFloat64(sumIf(cost_usd, before)) / ${seconds} AS week_before
FROM ${both_weeks_over_time}
GROUP BY time
ORDER BY time;
