-- A run is a span of the kind agent; what is called within it names the agent too.
SELECT
    ${label:agent} AS agent,
    n AS runs,
    usd AS cost,
    usd / nullIf(sum(usd) OVER (), 0) AS share,
    usd / nullIf(usd_before, 0) - 1 AS change,
    usd / nullIf(n, 0) AS per_run
FROM
(
    SELECT
        agent,
        sumIf(calls, NOT before AND kind = 'agent') AS n,
        toFloat64(sumIf(cost_usd, NOT before)) AS usd,
        toFloat64(sumIf(cost_usd, before)) AS usd_before
    FROM ${both_weeks}
    GROUP BY agent
    HAVING n > 0 OR usd > 0
)
ORDER BY cost DESC, agent
LIMIT 100;
