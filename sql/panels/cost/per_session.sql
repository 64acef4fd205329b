SELECT
    toFloat64(sumIf(cost_usd, NOT before)) / nullIf(uniqMergeIf(sessions, NOT before), 0) AS cost,
    toFloat64(sumIf(cost_usd, before)) / nullIf(uniqMergeIf(sessions, before), 0) AS week_before
FROM ${both_weeks};
