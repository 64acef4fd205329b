SELECT
    sumIf(calls, NOT before) AS requests,
    requests / nullIf(sumIf(calls, before), 0) - 1 AS change
FROM ${both_weeks}
WHERE entry;
