SELECT
    ${bucket} AS time,
    sumIf(errors, NOT before) / nullIf(sumIf(calls, NOT before), 0) AS error_rate,
    sumIf(errors, before) / nullIf(sumIf(calls, before), 0) AS week_before
FROM ${both_weeks_over_time}
WHERE entry
GROUP BY time
ORDER BY time;
