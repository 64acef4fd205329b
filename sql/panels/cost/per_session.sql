SELECT
    c.now / nullIf(p.sessions, 0) AS cost,
    c.earlier / nullIf(p.sessions_before, 0) AS week_before
FROM
(
    SELECT toFloat64(sumIf(cost_usd, NOT before)) AS now, toFloat64(sumIf(cost_usd, before)) AS earlier
    FROM ${both_weeks}
) AS c
CROSS JOIN
(
    SELECT uniqMergeIf(b.sessions, NOT before) AS sessions, uniqMergeIf(b.sessions, before) AS sessions_before
    FROM ${people_both_weeks} AS b
) AS p;
