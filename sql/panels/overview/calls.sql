SELECT
    ${bucket} AS time,
    sumIf(calls, NOT before) / ${seconds} AS requests,
    sumIf(calls, before) / ${seconds} AS week_before
FROM ${both_weeks_over_time}
WHERE entry
GROUP BY time
ORDER BY time;
