-- A run is a span of the kind workflow; what is called within it names the workflow too.
SELECT
    ${label:workflow} AS workflow,
    n AS runs,
    usd AS cost,
    usd / nullIf(sum(usd) OVER (), 0) AS share,
    usd / nullIf(usd_before, 0) - 1 AS change,
    usd / nullIf(n, 0) AS per_run
FROM
(
    SELECT
        workflow,
        sumIf(calls, NOT before AND kind = 'workflow') AS n,
        toFloat64(sumIf(cost_usd, NOT before)) AS usd,
        toFloat64(sumIf(cost_usd, before)) AS usd_before
    FROM ${both_weeks}
    GROUP BY workflow
    HAVING n > 0 OR usd > 0
)
ORDER BY cost DESC, workflow
LIMIT 100;
