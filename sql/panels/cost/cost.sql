SELECT
    toFloat64(sumIf(cost_usd, NOT before)) AS cost,
    cost / nullIf(toFloat64(sumIf(cost_usd, before)), 0) - 1 AS change
FROM ${both_weeks};
